// Package definitions holds the OpenAPI definitions of the served types, as Go. Only the generator of the documents
// imports it: it is no part of the program.
package definitions
