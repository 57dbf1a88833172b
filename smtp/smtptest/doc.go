// Package smtptest helps to test programs that send or receive mail by SMTP or
// LMTP.
//
//   - [NewServer] serves a smtp.Server of yours in memory, as httptest does it
//     for HTTP, and [NewTLSServer] one with a certificate that clients of
//     [NewClient] trust. [Users] lets people log in.
//   - [Play] and [PlayFiles] run written dialogues against a Server.
//   - A [Recorder] is a server that keeps what it gets.
//   - [Faults] make a Server or Recorder misbehave: connections lost at any
//     point, wrong, slow and malformed replies, bad TLS; always, at a rate or by
//     reproducible chance.
//   - A [Peer] is a server that says what a script says, however wrong.
//
// All work in memory: give their Dial method to smtp.ClientConfig, where there is
// no NewClient. They then block on channels only, so that tests may run them
// under testing/synctest, where no delay takes any time. Those whose clients
// can only do TCP listen on the loopback interface as well.
package smtptest
