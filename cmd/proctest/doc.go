// Package proctest has what tests need that start programs, or read what goes on beside them.
package proctest
