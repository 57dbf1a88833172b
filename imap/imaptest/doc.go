// Package imaptest helps to test programs that read mail by IMAP, and stores
// that are served by it.
//
//   - [NewServer] serves an imap.Server of yours in memory, as httptest does it
//     for HTTP, over a store of yours or one in memory; [NewTLSServer] one with
//     a certificate that its clients trust. [Users] lets people log in, and
//     [Server.Deliver] fills their mailboxes.
//   - [Play] and [PlayFiles] run written dialogues against a Server: of several
//     connections, with responses in any order and literals as they are.
//   - A [Client] sends commands and returns what was answered.
//   - [Run] has a store of yours served, and plays dialogues that hold for every
//     store.
//
// In short:
//
//	s := imaptest.NewServer(t, &imap.Server{})
//	s.Deliver("anna", imaptest.Message{Text: "Subject: hello\n\nHello.\n"})
//	imaptest.Play(t, s, "S* .* OK .*\nC: a LOGIN anna secret\nS* a OK .*\nC: b SELECT INBOX\nS* b OK .*", nil)
//
// All work in memory: they block on channels only, so that tests may run them
// under testing/synctest, where no delay takes any time. [Server.ListenTCP] is
// for clients that can only do TCP.
package imaptest
