// Package smtptest helps to test programs that send mail by SMTP or LMTP: a
// [Recorder] is a real server that keeps what it gets, a [Peer] a server that
// does what a script says, however wrong.
//
// Both work in memory: give their Dial method to smtp.ClientConfig. They then
// block on channels only, so that tests may run them under testing/synctest.
package smtptest
