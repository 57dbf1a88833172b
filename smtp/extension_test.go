package smtp

import (
	"context"
	"testing"
)

type extendedSession struct{ nullSession }

func (extendedSession) Extensions() []Extension {
	return []Extension{
		{Keyword: "XCOUNT 1 2", Verbs: map[string]func(context.Context, string) Reply{
			"XCOUNT": func(_ context.Context, args string) Reply {
				return Reply{250, EnhancedCode{2, 0, 0}, "one\r\n" + args}
			},
			"XBYE": func(context.Context, string) Reply { return Reply{421, EnhancedCode{4, 3, 2}, "Going"} },
			"NOOP": func(context.Context, string) Reply { panic("the server's own") },
		}},
		{}, {Keyword: "bad\r\n250 INJECTED"}, {Keyword: "-X"}, {Keyword: "XGRÜN"},
	}
}

func TestExtender(t *testing.T) {
	l := testServer(t, &Server{Hostname: "mx.example.org", Handler: HandlerFunc(func(context.Context, *Conn) (Session, error) { return extendedSession{}, nil })})
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("XCOUNT 1\r\n")
	c.hear("500 5.5.1")
	c.say("EHLO x\r\n")
	c.hear("250 XCOUNT 1 2")
	c.say("xcount 1\r\nNOOP\r\nXOTHER\r\nXBYE\r\n")
	c.hear("250 2.0.0 1", "250 2.0.0 OK", "500 5.5.1", "421 4.3.2")
	c.hearEOF()
}
