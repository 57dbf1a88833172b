package mta

import (
	"net/mail"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// What checkAuthors lets pass names no other author to another parser either:
// neither to the standard library's nor to one that stops at NUL or takes
// whatever looks like an address in angle brackets.
func FuzzAuthors(f *testing.F) {
	for _, s := range []string{
		"me@a.test", "Me <me@a.test>", "me@a.test <victim@b.test>", "victim@b.test <me@a.test>", "victim@b.test, me@a.test",
		"me@a.test\r\nFrom: victim@b.test", "G: me@a.test;", "<@b.test:me@a.test>", `"x\"<victim@b.test>" <me@a.test>`,
		"(victim@b.test) me@a.test", "victim@b.test\x00 <me@a.test>", "=?utf-8?q?victim=40b.test?= <me@a.test>", "me@a.test (",
		"\"me@a.test\" <victim@b.test>", "me @ a . test", "me@a.test;victim@b.test", "m\\e@a.test", "me@[127.0.0.1]", "<me@a.test", "a\r\n b <me@a.test>",
	} {
		f.Add(s)
	}
	id := &auth.Identity{Senders: []string{"me@a.test"}}
	f.Fuzz(func(t *testing.T, from string) {
		h := message.ParseHeader([]byte("From: " + from + "\r\n\r\n"))
		if _, err := checkAuthors(h, id); err != nil {
			return
		}
		value := h.Get("From")
		list, err := mail.ParseAddressList(value)
		for _, a := range list {
			require.True(t, id.MaySend(a.Address), "%q: net/mail sees %q (%v)", from, a.Address, err)
		}
		// The last address in angle brackets outside of quotes and comments.
		if plain := stripQuoted(value); strings.Contains(plain, "<") {
			last := plain[strings.LastIndexByte(plain, '<')+1:]
			last, _, _ = strings.Cut(last, ">")
			if strings.Contains(last, "@") {
				require.True(t, id.MaySend(strings.ReplaceAll(strings.ReplaceAll(last, " ", ""), "\t", "")), "%q: %q", from, last)
			}
		}
		require.NotContains(t, string(h.Raw()), "\x00")
	})
}

// stripQuoted takes out quoted strings and comments.
func stripQuoted(s string) string {
	var b strings.Builder
	depth, quoted := 0, false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '\\':
			i++
		case quoted:
			quoted = c != '"'
		case c == '"' && depth == 0:
			quoted = true
		case c == '(':
			depth++
		case c == ')' && depth > 0:
			depth--
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// What soundHeader lets pass a store takes as prefix, and nothing else.
func FuzzSoundHeader(f *testing.F) {
	for _, s := range []string{"X: y\r\n", "X: y\r\n\tz\r\nY: z\r\n", "X: y", " x\r\n", "X: y\r\n\r\n", "Content-Type: x\r\n", "X\x00: y\r\n", "X: y\n", "x y: z\r\n", ":\r\n", ""} {
		f.Add([]byte(s))
	}
	body, err := store.StageTemp(f.Context(), "", strings.NewReader(""))
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte) {
		item := store.SpoolItem{Prefix: b, Body: body}
		if soundHeader(b) {
			require.NoError(t, item.Check())
			h := message.ParseHeader(append(b, "Subject: below\r\n\r\n"...))
			require.Len(t, h.All("Subject"), strings.Count(strings.ToLower("\n"+string(b)), "\nsubject:")+1)
		}
	})
}
