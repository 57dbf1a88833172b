// Package interop drives Posta with other people's mail software: its tests start examples/mailserver as a process
// of its own and talk to it through its ports. See README.md.
package interop
