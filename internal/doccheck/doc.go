// Package doccheck holds the tests that keep the pages under docs and the
// README true to the tree: links lead somewhere, files and names that are
// mentioned exist, whole programs compile, and the metrics and warnings of the code
// are those that docs/operations.md explains.
package doccheck
