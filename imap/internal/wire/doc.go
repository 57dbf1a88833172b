// Package wire is the vocabulary and grammar of IMAP (RFC 9051 §9 and RFC 3501
// §9): commands are parsed into typed values, responses are appended to byte
// slices. It knows neither sessions nor mailboxes.
//
// A [Parser] works on one complete command with its literals in place, as the
// session has read it. Every parser is bounded by the length of the command
// and by [Limits].
package wire
