//go:build race

package interop

// Under the race detector the server that clients talk to is built with it too.
const raceEnabled = true
