// Starts a page that holds charts alone.

startTheme();
