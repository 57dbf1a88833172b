package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// steps runs an APPEND over lines, between which literals lie, and returns what
// it had to do.
func steps(lim Limits, lines ...string) (done []Step, a *Append) {
	a = NewAppend(NewParser([]byte(lines[0]), lim))
	next := func() []byte {
		if lines = lines[1:]; len(lines) == 0 {
			return nil
		}
		return []byte(lines[0])
	}
	for len(done) < 100 {
		step := a.Next()
		done = append(done, step)
		switch step {
		case StepFailed, StepEnd:
			return done, a
		case StepString:
			a.Supply("supplied", next())
		case StepText:
			a.Line(next())
		}
	}
	return done, a
}

func TestAppendSteps(t *testing.T) {
	for _, k := range []struct {
		lines []string
		want  []Step
	}{
		{[]string{" INBOX {4+}", ""}, []Step{StepMailbox, StepBegin, StepText, StepDone, StepEnd}},
		{[]string{` {3}`, ` (\Seen a) "01-Jan-2026 10:00:00 +0000" ~{4}`, ""}, []Step{StepString, StepMailbox, StepBegin, StepText, StepDone, StepEnd}},
		{[]string{` x {1}`, ` () {2}`, ` UTF8 (~{3}`, ")"}, []Step{StepMailbox, StepBegin, StepText, StepDone, StepBegin, StepText, StepDone, StepBegin, StepText, StepDone, StepEnd}},
		{[]string{` x catenate (url "a" text {1}`, ` URL {2}`, " URL b) {3}", ""}, []Step{StepMailbox, StepBegin, StepURL, StepText, StepString, StepURL, StepURL, StepDone, StepBegin, StepText, StepDone, StepEnd}},
	} {
		done, a := steps(testLimits, k.lines...)
		assert.NoError(t, a.Err(), k.lines)
		assert.Equal(t, k.want, done, k.lines)
		assert.Equal(t, StepEnd, a.Next())
	}
	_, a := steps(testLimits, ` {8}`, ` (\Seen a) "01-Jan-2026 10:00:00 +0000" ~{4+}`, "")
	assert.Equal(t, "supplied", a.Mailbox)
	assert.Equal(t, []string{`\Seen`, "a"}, a.Message.Flags)
	assert.Equal(t, 2026, a.Message.Date.Year())
	assert.Equal(t, Literal{Size: 4, Binary: true}, a.Literal)
	for _, lines := range [][]string{
		{""}, {" "}, {" x"}, {" x "}, {" x y"}, {" x {1} "}, {" x {1"}, {" x {1}", "y"}, {" x {1}", " "}, {" x {1}", " y"}, {" x (a {1}", ""}, {" x (a) "}, {` x "bad" {1}`, ""}, {" x  {1}", ""},
		{" x CATENATE {1}", ""}, {" x CATENATE ({1}", ")"}, {" x CATENATE ()"}, {" x CATENATE (TEXT a)"}, {" x CATENATE (TEXT {1}", ""}, {" x CATENATE (TEXT {1}", "x)"}, {" x CATENATE (URL)"}, {" x CATENATE (URL a"}, {" x CATENATE (URL a )"},
		{" x UTF8 ({1}", ")"}, {" x UTF8 (~{1}", ""}, {" x UTF8 ~{1}", ""}, {" x UTF8 (~{1}", "))"}, {" ~{1}", " {1}", ""}, {" x NIL"},
	} {
		done, a := steps(testLimits, lines...)
		assert.Error(t, a.Err(), lines)
		assert.Equal(t, StepFailed, done[len(done)-1], lines)
	}
	for off, lines := range map[string][]string{
		"MULTIAPPEND": {" x {1}", " {1}", ""}, "CATENATE": {" x CATENATE (URL a)"}, "BINARY": {" x ~{1}", ""}, "UTF8=ACCEPT": {" x UTF8 (~{1}", ")"},
	} {
		_, a := steps(Limits{UTF8: true, Off: map[string]bool{off: true}}, lines...)
		assert.Error(t, a.Err(), off)
	}
}
