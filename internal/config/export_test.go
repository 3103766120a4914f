package config

// Example returns the content of .env.example.
var Example = example
