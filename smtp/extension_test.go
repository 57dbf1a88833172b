package smtp

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
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

func (s *testSession) Extensions() []Extension { return s.h.ext }

// allExtensions are those of the package, and one that is not.
func allExtensions() []Extension {
	return []Extension{
		DSN(), RequireTLS(), BinaryMIME(), FutureRelease(time.Hour), DeliverByDeadline(time.Minute), MTPriority("MIXER"), RRVS(),
		{Keyword: "XTAG", MailParams: []string{"XTAG", "SIZE"}, RcptParams: []string{"XTAG"}, Verbs: map[string]func(context.Context, string) Reply{
			"XTAG": func(_ context.Context, args string) Reply { return Reply{250, EnhancedCode{2, 0, 0}, "Tag " + args} },
		}},
		{Keyword: "STARTTLS no"},
	}
}

// describeMail writes down what has arrived.
func describeMail(o MailOptions) string {
	now, minutes := time.Now(), func(t time.Time, now time.Time) int { return int(t.Sub(now).Round(time.Minute).Minutes()) }
	out := []string{"got"}
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	if o.Return != "" || o.EnvelopeID != "" {
		add("ret %s envid %q", o.Return, o.EnvelopeID)
	}
	if o.RequireTLS {
		add("requiretls")
	}
	if o.Body != "" {
		add("body %s", o.Body)
	}
	if !o.HoldUntil.IsZero() {
		add("hold %d", minutes(o.HoldUntil, now))
	}
	if !o.DeliverBy.Deadline.IsZero() {
		add("by %d return %v trace %v", minutes(o.DeliverBy.Deadline, now), o.DeliverBy.Return, o.DeliverBy.Trace)
	}
	if o.Priority != 0 {
		add("priority %d", o.Priority)
	}
	return strings.Join(append(out, describeParams(o.Params)...), " ")
}

func describeRcpt(o RcptOptions) string {
	out := []string{"got"}
	if o.Notify != 0 {
		out = append(out, "notify "+o.Notify.String())
	}
	if o.Original != (OriginalRecipient{}) {
		out = append(out, fmt.Sprintf("orcpt %s %q", o.Original.Type, o.Original.Address))
	}
	if v := o.ValidSince; !v.Time.IsZero() {
		out = append(out, fmt.Sprintf("since %s continue %v", v.Time.UTC().Format(time.RFC3339), v.Continue))
	}
	return strings.Join(append(out, describeParams(o.Params)...), " ")
}

func describeParams(m map[string]string) (out []string) {
	for _, name := range slices.Sorted(maps.Keys(m)) {
		out = append(out, fmt.Sprintf("%s %q", name, m[name]))
	}
	return out
}

type unwrapping struct{ Wrapper }

func TestExtensionsThroughWrappers(t *testing.T) {
	inner := extendedSession{}
	require.Len(t, Extensions(unwrapping{Wrapper{unwrapping{Wrapper{inner}}}}), len(inner.Extensions()))
	require.Nil(t, Extensions(nullSession{}))
	require.Nil(t, Extensions(unwrapping{Wrapper{nullSession{}}}))
	require.Nil(t, Extensions(nil))
}

// What options make someone keep is counted.
func TestOptionsAreCharged(t *testing.T) {
	h := &testHandler{ext: allExtensions()}
	l := testServer(t, &Server{Handler: h, MemoryBudget: 300})
	c := newTalk(t, l)
	c.say("EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org> XTAG=" + strings.Repeat("x", 300) + "\r\nRCPT TO:<b@example.org>\r\nQUIT\r\n")
	c.hear("220 ", "250 XTAG", "250 2.1.0", "452 4.3.1", "250 2.1.5", "221 ")
}
