package api

// Confirmation is what a server gives at a time.
var Confirmation = confirmation
