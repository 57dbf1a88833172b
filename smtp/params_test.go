package smtp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestNextParam(t *testing.T) {
	p, rest, ok, err := nextParam("  Size=10  BODY=8BITMIME X ")
	require.Nil(t, err)
	require.True(t, ok)
	require.Equal(t, param{"SIZE", "10", true}, p)
	p, rest, ok, err = nextParam(rest)
	require.Nil(t, err)
	require.True(t, ok)
	require.Equal(t, param{"BODY", "8BITMIME", true}, p)
	p, rest, ok, err = nextParam(rest)
	require.Nil(t, err)
	require.True(t, ok)
	require.Equal(t, param{name: "X"}, p)
	_, _, ok, err = nextParam(rest)
	require.Nil(t, err)
	require.False(t, ok)
	for _, s := range []string{"x", " -X", " X=", " =x", " X=a=b", " X=\x01", " X=\xff", " X_Y", " \x00"} {
		_, _, ok, err := nextParam(s)
		require.NotNil(t, err, s)
		require.False(t, ok)
	}
}

func TestXtext(t *testing.T) {
	for _, s := range []string{"", "a", "a+b=c d", "\x00\xff", "user@example.com"} {
		got, ok := decodeXtext(encodeXtext(s))
		require.True(t, ok)
		require.Equal(t, s, got)
	}
	for _, s := range []string{"+", "+4", "+4g", "+4a", "x+"} {
		_, ok := decodeXtext(s)
		require.False(t, ok, s)
	}
}

func TestParseSize(t *testing.T) {
	for s, want := range map[string]int64{"0": 0, "00000000000000000001": 1, "9223372036854775807": 1<<63 - 1} {
		n, err := parseSize(s)
		require.Nil(t, err)
		require.Equal(t, want, n)
	}
	for _, s := range []string{"-1", "+1", "9223372036854775808", "000000000000000000001", "1k", "１"} {
		_, err := parseSize(s)
		require.NotNil(t, err, s)
	}
}

// Whatever the arguments, MAIL and RCPT are parsed or refused with a reply of
// the right class.
func FuzzMailArgs(f *testing.F) {
	for _, s := range []string{"FROM:<a@b> SIZE=1 BODY=7BIT", "FROM:<> AUTH=<>", "FROM:<a@b> AUTH=a+40b SMTPUTF8", "TO:<a@b> X=1", "TO:<Postmaster>", "from: <\"x\"@[1.2.3.4]>",
		"FROM:<a@b> RET=HDRS ENVID=a+2Bb BODY=BINARYMIME", "FROM:<a@b> HOLDFOR=60 BY=120;RT MT-PRIORITY=-3 XTAG=1", "FROM:<a@b> HOLDUNTIL=2026-01-02T03:04:05Z",
		"TO:<a@b> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;a+40b", `TO:<a@b> ORCPT=utf-8;\x{FC}@b RRVS=2014-04-03T23:01:00Z;C XTAG`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c := &session{shared: (&Server{Auth: testAuth{}}).setup(), conn: &Conn{extended: true}, ext: allExtensions()}
		if p, opts, err := c.parseMail(s); err != nil {
			require.Equal(t, 5, err.Code/100)
			require.Equal(t, 5, err.Enhanced[0])
		} else {
			require.NoError(t, p.check())
			require.GreaterOrEqual(t, opts.Size, int64(0))
			require.Contains(t, []BodyType{"", Body7Bit, Body8BitMIME, BodyBinary}, opts.Body)
			require.LessOrEqual(t, len(opts.EnvelopeID), maxEnvelopeID)
			require.True(t, isPrintable(opts.EnvelopeID))
			require.True(t, -9 <= opts.Priority && opts.Priority <= 9)
			require.False(t, opts.RequireTLS, "in plain text")
			require.True(t, opts.SMTPUTF8 || !p.NeedsSMTPUTF8())
			if opts.Auth != nil {
				require.Empty(t, *opts.Auth, "nobody has logged in")
			}
		}
		if p, opts, err := c.parseRcpt(s); err != nil {
			require.Equal(t, 5, err.Code/100)
		} else {
			require.NoError(t, p.check())
			require.False(t, p.IsNull())
			require.True(t, opts.Notify.valid())
			again, ok := parseNotify(opts.Notify.String())
			require.True(t, opts.Notify == 0 || ok && again == opts.Notify)
			require.False(t, strings.ContainsAny(opts.Original.Address, "\r\n\x00"))
			require.False(t, p.NeedsSMTPUTF8())
		}
	})
}
