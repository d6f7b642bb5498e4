// Starts the page of an audit.

startAudit();
startPictures();
startTheme();
