package sasl

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestXOAuth2Server(t *testing.T) {
	for message, want := range map[string][2]string{
		"user=u@example.org\x01auth=Bearer abc==\x01\x01": {"u@example.org", "abc=="},
		"user=u\x01auth=bearer abc\x01\x01":               {"u", "abc"},
		"":                                                {},
		"\x01":                                            {},
		"user=\x01auth=Bearer abc\x01\x01":                {},
		"user=u\x01auth=Bearer \x01\x01":                  {},
		"user=u\x01auth=Bearer abc\x01":                   {},
		"user=u\x01auth=Basic abc\x01\x01":                {},
		"user=u\x01Bearer abc\x01\x01":                    {},
		"u\x01auth=Bearer abc\x01\x01":                    {},
		"user=u\x01auth=Bearer abc\x01x=y\x01\x01":        {},
		"user=u\r\n\x01auth=Bearer abc\x01\x01":           {},
		"user=u\x00\x01auth=Bearer abc\x01\x01":           {},
		"user=\xff\x01auth=Bearer abc\x01\x01":            {},
		"user=u\x01auth=Bearer a b\x01\x01":               {},
		"user=u\x01auth=Bearer " + strings.Repeat("a", MaxMessage) + "\x01\x01": {},
	} {
		var got [2]string
		s := NewXOAuth2Server(func(user, token string) error { got = [2]string{user, token}; return nil })
		_, done, err := s.Next([]byte(message))
		require.Equal(t, want, got, "%.40q", message)
		require.Equal(t, want[0] != "", done, "%.40q", message)
		if !done {
			require.ErrorIs(t, err, ErrMalformed)
		}
		_, done, err = s.Next([]byte(message))
		require.ErrorIs(t, err, ErrMalformed)
		require.False(t, done)
	}
	got := ""
	for _, initial := range []bool{true, false} {
		require.NoError(t, talk(t, NewXOAuth2Client("u", "tok"), NewXOAuth2Server(func(u, p string) error { got = u + p; return nil }), initial))
		require.Equal(t, "utok", got)
		require.ErrorIs(t, talk(t, NewXOAuth2Client("u", "tok"), NewXOAuth2Server(func(_, _ string) error { return errDenied }), initial), errDenied)
	}
}

// What a token's check says reaches the client, and then ends the exchange.
func TestTokenError(t *testing.T) {
	full := &TokenError{Status: "insufficient_scope", Scope: "imap", Configuration: "https://id.example/.well-known/openid-configuration", Err: errDenied}
	for _, tc := range []struct {
		err             error
		bearer, xoauth2 string
	}{
		{errDenied, `{"status":"invalid_token","schemes":"bearer"}`, `{"status":"401","schemes":"bearer"}`},
		{fmt.Errorf("x: %w", full), `{"status":"insufficient_scope","schemes":"bearer","scope":"imap","openid-configuration":"https://id.example/.well-known/openid-configuration"}`,
			`{"status":"403","schemes":"bearer","scope":"imap"}`},
		{&TokenError{Status: "invalid_request"}, `{"status":"invalid_request","schemes":"bearer"}`, `{"status":"400","schemes":"bearer"}`},
		{&TokenError{Scope: strings.Repeat("x", MaxMessage)}, "", ""},
		{fmt.Errorf("%w: %w", ErrUnchecked, full), "", ""},
	} {
		check := func(_, _ string) error { return tc.err }
		for _, c := range []struct{ want, message string }{{tc.bearer, "n,,\x01auth=Bearer abc\x01\x01"}, {tc.xoauth2, "user=u\x01auth=Bearer abc\x01\x01"}} {
			s := NewOAuthBearerServer(check)
			if c.message[0] == 'u' {
				s = NewXOAuth2Server(check)
			}
			challenge, done, err := s.Next([]byte(c.message))
			require.False(t, done)
			if c.want == "" {
				require.Equal(t, tc.err, err)
				continue
			}
			require.NoError(t, err)
			assert.JSONEq(t, c.want, string(challenge))
			_, done, err = s.Next([]byte{})
			require.False(t, done)
			require.Equal(t, tc.err, err)
		}
	}
	require.ErrorIs(t, full, errDenied)
	require.Contains(t, full.Error(), "insufficient_scope")
	require.Contains(t, new(TokenError).Error(), "invalid_token")
	require.NoError(t, errors.Unwrap(new(TokenError)))
}

func TestAnonymous(t *testing.T) {
	for trace, ok := range map[string]bool{
		"": true, "sirhc": true, "bob@example.org": true, "b\u00fccher": true, strings.Repeat("\u00fc", 255): true,
		strings.Repeat("x", 256): false, "a\x00b": false, "a\x07": false, "\u0085": false, "\ue000": false, "\ufdd0": false, "\u2028": false, "\U000e0041": false, "a \u00a0b": true, "\u2ff0": true, "\u05d0b": false, "\u05d0": true, "\ufffe": false, "\xff": false,
	} {
		got := "not called"
		s := NewAnonymousServer(func(trace string) error { got = trace; return nil })
		_, done, err := s.Next([]byte(trace))
		require.Equal(t, ok, done, "%q", trace)
		if ok {
			require.Equal(t, trace, got)
			for _, initial := range []bool{true, false} {
				require.NoError(t, talk(t, NewAnonymousClient(trace), NewAnonymousServer(func(string) error { return nil }), initial))
			}
		} else {
			require.Equal(t, "not called", got)
			require.ErrorIs(t, err, ErrMalformed)
			_, _, err := NewAnonymousClient(trace).Start()
			require.ErrorIs(t, err, ErrMalformed)
		}
		_, done, err = s.Next([]byte("again"))
		require.ErrorIs(t, err, ErrMalformed)
		require.False(t, done)
	}
	require.ErrorIs(t, talk(t, NewAnonymousClient("x"), NewAnonymousServer(func(string) error { return errDenied }), true), errDenied)
	_, err := NewAnonymousClient("x").Next(nil)
	require.Error(t, err)
}

func FuzzXOAuth2Server(f *testing.F) {
	f.Add("user=u@example.org\x01auth=Bearer abc==\x01\x01", "")
	f.Add("user=u\x01auth=Basic abc\x01\x01", "user=u\x01auth=Bearer good\x01\x01")
	f.Fuzz(func(t *testing.T, first, second string) {
		s := NewXOAuth2Server(func(user, token string) error {
			require.NotEmpty(t, user)
			require.True(t, isToken(token))
			require.False(t, hasControl(user))
			if token != "good" {
				return errDenied
			}
			return nil
		})
		for _, m := range []string{first, second} {
			if _, done, err := s.Next([]byte(m)); done {
				require.NoError(t, err)
				require.Contains(t, first, "earer good\x01\x01")
			}
		}
	})
}

func FuzzAnonymousServer(f *testing.F) {
	f.Add("sirhc")
	f.Add("\u0085")
	f.Fuzz(func(t *testing.T, m string) {
		s := NewAnonymousServer(func(trace string) error {
			require.Equal(t, m, trace)
			require.False(t, hasControl(trace))
			return nil
		})
		_, done, err := s.Next([]byte(m))
		require.Equal(t, err == nil, done)
	})
}

// A server that asks again and again is not answered for ever.
func TestTokenClientsEnd(t *testing.T) {
	for _, c := range []gosasl.Client{NewOAuthBearerClient("u", "token"), NewXOAuth2Client("u", "token"), NewPlainClient("", "u", "p"), NewLoginClient("u", "p"), NewExternalClient(""), NewAnonymousClient("")} {
		for range 2 { // a second exchange begins anew
			name, _, err := c.Start()
			require.NoError(t, err)
			answers := 0
			for err == nil && answers < 10 {
				if _, err = c.Next([]byte("{}")); err == nil {
					answers++
				}
			}
			require.ErrorIs(t, err, gosasl.ErrUnexpectedServerChallenge, name)
			require.LessOrEqual(t, answers, 2, name)
		}
	}
}
