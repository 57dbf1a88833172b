package mta_test

import (
	"context"
	"io"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/mta"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// recorded is a Check that notes what it is asked and answers by phase.
type recorded struct {
	name    string
	log     *[]string
	answers map[mta.Phase]mta.Verdict
}

func (r recorded) Check(_ context.Context, t *mta.Transaction) mta.Verdict {
	line := r.name + " " + t.Phase.String()
	switch t.Phase {
	case mta.AtMail:
		line += " " + t.From.String()
	case mta.AtRcpt:
		line += " " + t.To[len(t.To)-1].String()
	case mta.AtData:
		b, _ := io.ReadAll(io.NewSectionReader(t.Message, 0, t.Size))
		line += " " + t.Header.Get("Subject")
		if !strings.HasPrefix(string(b), string(t.Header.Raw())) {
			line += " (header and message differ)"
		}
	}
	*r.log = append(*r.log, line)
	return r.answers[t.Phase]
}

// Every phase is asked, in the order of the checks; what they want on top of
// the message is there in that order, below the trace.
func TestChecksAtEveryPhase(t *testing.T) {
	var log []string
	head := func(s string) mta.Verdict { return mta.Verdict{Header: []byte(s + "\r\n")} }
	s := newSystem(t, world(t), func(s *system) {
		s.NoVerify = true
		s.Checks = []mta.Check{
			recorded{"1", &log, map[mta.Phase]mta.Verdict{mta.AtConnect: head("X-Connect: 1"), mta.AtRcpt: head("X-Rcpt: 1\r\n\tfolded"), mta.AtData: head("X-Data: 1")}},
			recorded{"2", &log, map[mta.Phase]mta.Verdict{mta.AtMail: head("X-Mail: 2"), mta.AtData: head("X-Data: 2")}},
		}
	})
	msg := "Return-Path: <x@y.test>\r\nSubject: hello\r\n\r\n"
	require.NoError(t, s.receive(from, "a@b.test", msg, "bob@ours.test", "carol@ours.test"))
	require.Equal(t, []string{
		"1 connect", "2 connect", "1 mail <a@b.test>", "2 mail <a@b.test>",
		"1 rcpt <bob@ours.test>", "2 rcpt <bob@ours.test>", "1 rcpt <carol@ours.test>", "2 rcpt <carol@ours.test>",
		"1 data hello", "2 data hello",
	}, log)
	got := s.one("bob@ours.test", store.Inbox)
	require.Regexp(t, `(?s)^Return-Path: .*\r\nReceived: .*\r\nX-Connect: 1\r\nX-Mail: 2\r\nX-Rcpt: 1\r\n\tfolded\r\nX-Rcpt: 1\r\n\tfolded\r\nX-Data: 1\r\nX-Data: 2\r\nSubject: hello\r\n\r\n$`, got)
	require.Equal(t, 1, strings.Count(got, "Return-Path"))
}

// Every action at every phase.
func TestActions(t *testing.T) {
	own := smtp.Errorf(550, smtp.EnhancedCode{5, 7, 25}, "In my own words")
	for _, c := range []struct {
		name    string
		phase   mta.Phase
		verdict mta.Verdict
		want    string // the answer at that phase
		box     string // where the message is, if it was accepted
	}{
		{"reject", mta.AtConnect, mta.Verdict{Action: mta.Reject}, "554 5.7.1 Refused by policy", ""},
		{"reject", mta.AtMail, mta.Verdict{Action: mta.Reject}, "554 5.7.1 Refused by policy", ""},
		{"reject", mta.AtRcpt, mta.Verdict{Action: mta.Reject}, "554 5.7.1 Refused by policy", ""},
		{"reject", mta.AtData, mta.Verdict{Action: mta.Reject}, "554 5.7.1 Refused by policy", ""},
		{"reject in own words", mta.AtData, mta.Verdict{Action: mta.Reject, Reply: own}, "550 5.7.25 In my own words", ""},
		{"defer", mta.AtConnect, mta.Verdict{Action: mta.Defer, Reply: smtp.Errorf(421, smtp.EnhancedCode{4, 7, 1}, "Later")}, "421 4.7.1 Later", ""},
		{"defer", mta.AtMail, mta.Verdict{Action: mta.Defer}, "451 4.7.1 Try again later", ""},
		{"defer", mta.AtRcpt, mta.Verdict{Action: mta.Defer}, "451 4.7.1 Try again later", ""},
		{"defer", mta.AtData, mta.Verdict{Action: mta.Defer}, "451 4.7.1 Try again later", ""},
		{"discard", mta.AtConnect, mta.Verdict{Action: mta.Discard}, "", ""},
		{"discard", mta.AtMail, mta.Verdict{Action: mta.Discard}, "", ""},
		{"discard", mta.AtRcpt, mta.Verdict{Action: mta.Discard}, "", ""},
		{"discard", mta.AtData, mta.Verdict{Action: mta.Discard}, "", ""},
		{"quarantine", mta.AtConnect, mta.Verdict{Action: mta.Quarantine}, "", "Junk"},
		{"quarantine", mta.AtMail, mta.Verdict{Action: mta.Quarantine}, "", "Junk"},
		{"quarantine", mta.AtRcpt, mta.Verdict{Action: mta.Quarantine}, "", "Junk"},
		{"quarantine", mta.AtData, mta.Verdict{Action: mta.Quarantine}, "", "Junk"},
		{"accept", mta.AtData, mta.Verdict{Reply: own}, "", "INBOX"},
	} {
		for _, submission := range []bool{false, true} {
			name := c.name + " at " + c.phase.String()
			if submission {
				name += " of submission"
			}
			t.Run(name, func(t *testing.T) {
				var log []string
				s := newSystem(t, world(t), func(s *system) {
					s.NoVerify = true
					s.Checks = []mta.Check{recorded{"x", &log, map[mta.Phase]mta.Verdict{c.phase: c.verdict}}}
					s.SubmissionChecks = s.Checks
				})
				s.actions(t, submission, c.phase, c.want)
				for _, box := range []string{"INBOX", "Junk"} {
					want := 0
					if box == c.box {
						want = 1
					}
					require.Len(t, s.mail("carol@ours.test", box), want, box)
				}
				require.Empty(t, s.queued())
				if c.verdict.Action == mta.Discard {
					require.Equal(t, "x "+c.phase.String(), strings.Join(strings.Fields(log[len(log)-1])[:2], " "), "nobody is asked after that")
				}
			})
		}
	}
}

// actions plays a whole transaction in which the answer at one phase is given.
func (s *system) actions(t *testing.T, submission bool, phase mta.Phase, want string) {
	at := func(p mta.Phase, usual string) string {
		if p == phase && want != "" {
			return "S: " + want + "\n"
		}
		return "S~ " + usual + "\n"
	}
	script := at(mta.AtConnect, "220 .*")
	dial := s.mx.Dial
	if submission {
		dial = s.msa.Dial
	}
	if phase != mta.AtConnect || want == "" {
		script += "C: EHLO x.test\nS* 250 .*\n"
		if submission {
			script += "C: AUTH PLAIN AGJvYgBzZWNyZXQ=\nS~ 235 .*\n"
		}
		script += "C: MAIL FROM:<bob@ours.test>\n" + at(mta.AtMail, "250 .*")
		if phase != mta.AtMail || want == "" {
			script += "C: RCPT TO:<carol@ours.test>\n" + at(mta.AtRcpt, "250 .*")
		}
		if phase > mta.AtRcpt || want == "" {
			script += "C: DATA\nS~ 354 .*\nC: From: bob@ours.test\nC: \nC: .\n" + at(mta.AtData, "250 2.0.0 OK, queued as .*")
		}
		script += "C: QUIT\nS~ 221 .*\n"
	}
	testscript.Run(t, "actions", script, testscript.Config{Dial: dial})
}

// The first final verdict counts; what milder ones before it said about a
// refused recipient is forgotten.
func TestVerdictOrder(t *testing.T) {
	var mu sync.Mutex
	asked := 0
	s := newSystem(t, world(t), func(s *system) {
		s.NoVerify = true
		s.Checks = []mta.Check{
			mta.CheckFunc(func(_ context.Context, tr *mta.Transaction) mta.Verdict {
				if tr.Phase == mta.AtRcpt && tr.To[len(tr.To)-1].Local == "carol" {
					return mta.Verdict{Action: mta.Quarantine, Header: []byte("X-Carol: yes\r\n")}
				}
				return mta.Verdict{}
			}),
			mta.CheckFunc(func(_ context.Context, tr *mta.Transaction) mta.Verdict {
				if tr.Phase == mta.AtRcpt && tr.To[len(tr.To)-1].Local == "carol" {
					return mta.Verdict{Action: mta.Reject}
				}
				return mta.Verdict{}
			}),
			mta.CheckFunc(func(_ context.Context, tr *mta.Transaction) mta.Verdict {
				mu.Lock()
				defer mu.Unlock()
				if tr.Phase == mta.AtRcpt {
					asked++
				}
				if tr.Phase == mta.AtData {
					require.Len(t, tr.To, 1)
				}
				return mta.Verdict{}
			}),
		}
	})
	testscript.Run(t, "order", `
S~ 220 .*
C: EHLO x.test
S* 250 .*
C: MAIL FROM:<a@b.test>
S~ 250 .*
C: RCPT TO:<carol@ours.test>
S: 554 5.7.1 Refused by policy
C: RCPT TO:<bob@ours.test>
S~ 250 .*
C: RCPT TO:<carol@ours.test>
S: 554 5.7.1 Refused by policy
C: DATA
S~ 354 .*
C: Subject: x
C: 
C: .
S~ 250 .*
`, testscript.Config{Dial: s.mx.Dial})
	require.NotContains(t, s.one("bob@ours.test", store.Inbox), "X-Carol")
	require.Equal(t, 1, asked)
}

// A judgement of one transaction does not reach the next; one of the
// connection does.
func TestVerdictsEnd(t *testing.T) {
	first := true
	s := newSystem(t, world(t), func(s *system) {
		s.NoVerify = true
		s.Checks = []mta.Check{mta.CheckFunc(func(_ context.Context, tr *mta.Transaction) mta.Verdict {
			switch {
			case tr.Phase == mta.AtConnect:
				return mta.Verdict{Header: []byte("X-Connection: yes\r\n")}
			case tr.Phase == mta.AtMail && first:
				first = false
				return mta.Verdict{Action: mta.Quarantine, Header: []byte("X-First: yes\r\n")}
			}
			return mta.Verdict{}
		})}
	})
	nc, err := s.mx.Dial(t.Context())
	require.NoError(t, err)
	c, err := smtp.NewClient(t.Context(), nc, nil)
	require.NoError(t, err)
	env := &smtp.Envelope{To: smtp.To(path(t, "bob@ours.test"))}
	for range 2 {
		_, err = c.Send(t.Context(), env, strings.NewReader("Subject: x\r\n\r\n"))
		require.NoError(t, err)
	}
	require.NoError(t, c.Quit(t.Context()))
	junk := s.one("bob@ours.test", "Junk")
	require.Contains(t, junk, "X-First: yes\r\n")
	require.Contains(t, junk, "X-Connection: yes\r\n")
	inbox := s.one("bob@ours.test", store.Inbox)
	require.NotContains(t, inbox, "X-First")
	require.Contains(t, inbox, "X-Connection: yes\r\n")
}

// Whatever a check returns as header cannot end the header or change the body.
func TestMalformedHeaderOfACheck(t *testing.T) {
	for _, h := range []string{"X-No: line end", "X: y\r\n\r\n", "\r\n", " folded\r\n", "no colon\r\n", "X: a\nY: b\r\n", "X: \x00\r\n", "X y: z\r\n", "Content-Type: text/html\r\n", "X: y\r\n\r\nX: z\r\n"} {
		s := newSystem(t, world(t), func(s *system) {
			s.NoVerify = true
			s.Checks = []mta.Check{recorded{"x", new([]string), map[mta.Phase]mta.Verdict{mta.AtData: {Header: []byte(h)}, mta.AtMail: {Header: []byte("X-Good: yes\r\n")}}}}
		})
		require.NoError(t, s.receive(from, "", letter, "bob@ours.test"))
		got := s.one("bob@ours.test", store.Inbox)
		require.True(t, strings.HasSuffix(got, "X-Good: yes\r\n"+letter), "%q: %q", h, got)
	}
}
