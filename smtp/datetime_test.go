package smtp

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestParseDateTime(t *testing.T) {
	for s, want := range map[string]string{
		"2014-04-03T23:01:00Z": "2014-04-03T23:01:00Z", "2014-04-03t23:01:00.25z": "2014-04-03T23:01:00.25Z",
		"2014-04-03T23:01:00+23:59": "2014-04-02T23:02:00Z", "2014-04-03T23:01:00.1-23:59": "2014-04-04T23:00:00.1Z",
	} {
		got, ok := parseDateTime(s)
		require.True(t, ok, s)
		require.Equal(t, want, got.Format(time.RFC3339Nano))
	}
	for _, s := range []string{"", "Z", "2014-04-03T1:01:00Z", "2014-04-03T23:01:00,5Z", "2014-04-03T23:01:00+24:00", "2014-04-03T23:01:00-24:00",
		"2014-04-03T23:01:00+00:60", "2014-04-03 23:01:00Z", "2014-02-30T23:01:00Z", "2014-04-03T23:01:00", "0001-01-01T00:00:00Z", "2014-04-03T23:01:00." + strings.Repeat("0", 60) + "Z"} {
		_, ok := parseDateTime(s)
		require.False(t, ok, s)
	}
	// A time that would be read as none must not lift the check.
	_, ok := parseValidSince("0001-01-01T00:00:00Z")
	require.False(t, ok)
}

func TestUTF8Controls(t *testing.T) {
	for _, s := range []string{`a\x{85}b`, "a\u0085b", `a\x{0D}b`} {
		_, ok := decodeUnitext(s, true)
		require.False(t, ok, "%q", s)
	}
}

type authParamSession struct{ nullSession }

func (authParamSession) Extensions() []Extension { return []Extension{{MailParams: []string{"AUTH"}}} }

// AUTH is the Server's, also where it offers no login; with one, it needs a
// value.
func TestAuthParamIsTheServers(t *testing.T) {
	h := HandlerFunc(func(context.Context, *Conn) (Session, error) { return authParamSession{}, nil })
	for want, s := range map[string]*Server{"555 5.5.4": {Handler: h}, "501 5.5.4": {Handler: h, Auth: testAuth{}, InsecureAuth: true}} {
		c := newTalk(t, testServer(t, s))
		c.hear("220 ")
		c.say("EHLO x\r\nMAIL FROM:<> AUTH\r\n")
		c.hear("250 ", want)
	}
}
