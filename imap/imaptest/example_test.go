package imaptest_test

import (
	"testing"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/imap/imaptest"
	"github.com/posta-mail/posta/store/memory"
)

// A dialogue of two connections with a server in memory.
func ExamplePlay() {
	test := func(t *testing.T) {
		s := imaptest.NewServer(t, &imap.Server{})
		s.Deliver("anna", imaptest.Message{Text: "Subject: hello\n\nHello.\n"})
		imaptest.Play(t, s, `
S* \* OK .*
C: a LOGIN anna secret
S* a OK .*
C: b SELECT INBOX
S* b OK .*
2S* \* OK .*
2C: a LOGIN anna secret
2S* a OK .*
2C: b APPEND INBOX {#}
L: Subject: another
L:
2C:
2S* b OK .*
C: c UID FETCH 1:* (FLAGS)
ANY
S: * 2 EXISTS
S~ \* 1 FETCH \(.*\)
S~ \* 2 FETCH \(.*\)
END
S: c OK UID FETCH completed
`, nil)
	}
	_ = test // given to go test under the name TestSomething
}

// A store of one's own, seen with the eyes of clients.
func ExampleRun() {
	test := func(t *testing.T) {
		st := memory.New() // or any other
		defer st.Close()
		imaptest.Run(t, st)
	}
	_ = test
}
