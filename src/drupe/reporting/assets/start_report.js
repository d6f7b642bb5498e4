// Starts what the report of a study holds.

startExplorer();
startGallery();
startPictures();
startTheme();
