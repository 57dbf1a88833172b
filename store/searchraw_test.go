package store_test

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// A message that is looked at as it is matches what it matches part by part:
// whatever its encodings, its charsets and the folding of its header.
func TestSearchRaw(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))
	pick := func(list ...string) string { return list[rnd.IntN(len(list))] }
	tame := []string{"needle", "Needle", "NEE", "dle", "K"}
	words := []string{"needle", "Needle", "NEE", "dle", "a=b", "x:y", "Straße", "ﬁsh", "ſoap", "naïve", "=?", "?=", "+AGE-", "K", "e=0D"}
	wild, bare := false, false // most messages are plain, and many have nothing to find but in their text
	word := func() string {
		if bare {
			return "head"
		}
		if !wild {
			return tame[rnd.IntN(len(tame))]
		}
		return words[rnd.IntN(len(words))]
	}
	text := func() string {
		var b strings.Builder
		for range 1 + rnd.IntN(6) {
			b.WriteString(word() + pick(" ", "", "\r\n", "\r\n ", "\t", map[bool]string{true: "\x00", false: " "}[wild]))
		}
		return b.String()
	}
	part := func() string {
		was := bare
		bare = false
		defer func() { bare = was }()
		charset := pick("", "", "; charset=utf-8", "; charset=us-ascii", "; charset=iso-8859-1", "; charset=utf-16", "; charset=utf-7", "; charset=hz-gb-2312", "; charset=none")
		body, encoding := text(), pick("", "7bit", "8bit", "base64", "quoted-printable", "x-other")
		switch encoding {
		case "base64":
			body = base64.StdEncoding.EncodeToString([]byte(body))
		case "quoted-printable":
			body = strings.ReplaceAll(strings.ReplaceAll(body, "=", "=3D"), "ee", "e=\r\ne")
		}
		if encoding != "" {
			encoding = "Content-Transfer-Encoding: " + encoding + "\r\n"
		}
		bare = was
		return "Content-Type: " + pick("text/plain", "text/html", "application/octet-stream", "message/rfc822", "message/delivery-status", "image/png") + charset + "\r\n" + encoding +
			"X-Part" + pick("", " ", "\t") + ":" + pick("", " ") + word() + pick("\r\n ", " ", "\r\n\t") + word() + "\r\n\r\n" + body
	}
	st := memory.New()
	defer st.Close()
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	for i := range 400 {
		wild, bare = i%3 == 0, i%2 == 0
		head := fmt.Sprintf("Subject: %s%s%s\r\nX-A%s: %s\r\n", word(), pick(" ", "\r\n ", ""), pick(word(), word(), word(), word(), "=?utf-8?q?need?= =?utf-8?q?le?=", "=?utf-8?b?bmVlZGxl?="), pick("", " "), word())
		body := part()
		if rnd.IntN(2) == 0 {
			body = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + part() + "\r\n--b\r\n" + part() + "\r\n--b--\r\n"
		}
		staged, err := st.Stage(t.Context(), strings.NewReader(head+body))
		require.NoError(t, err)
		p := st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: staged}})
		require.NoError(t, p[0].Err, i)
		require.NoError(t, staged.Discard())
	}
	acc, err := st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	mb, err := acc.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	hits := 0
	for _, needle := range append(words, "needle", "eedl", "strasse", "fish", "soap", "k", "Subject", "X-A:", "x-part", "nothing", "naive", "le nee", "=3D", "a") {
		for _, c := range []store.Criteria{
			{Text: []string{needle}}, {Body: []string{needle}}, {Text: []string{needle, "needle"}}, {Not: []store.Criteria{{Text: []string{needle}}}},
			{Or: [][2]store.Criteria{{{Body: []string{needle}}, {Header: []store.HeaderCriterion{{Name: "Subject", Text: needle}}}}}},
		} {
			want, err := store.SearchInParts(t.Context(), mb, snap, &c)
			require.NoError(t, err)
			var got []store.UID
			for r, err := range store.Search(t.Context(), mb, snap, &c) {
				require.NoError(t, err)
				got = append(got, r.UID)
			}
			require.Equal(t, want, got, "%q %+v", needle, c)
			hits += len(got)
		}
	}
	require.Positive(t, hits)
}
