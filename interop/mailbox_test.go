package interop

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-imap/v2"
	"github.com/emersion/go-imap/v2/imapclient"
	"github.com/stretchr/testify/require"
)

// login opens an IMAP connection with go-imap's client.
func (s *server) login(t *testing.T, user string, opts *imapclient.Options) *imapclient.Client {
	t.Helper()
	if opts == nil {
		opts = &imapclient.Options{}
	}
	opts.TLSConfig = trusting(t)
	c, err := imapclient.DialTLS(s.addrs["imaps"], opts)
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	require.NoError(t, c.Login(user, passwords[user]).Wait())
	return c
}

// stored is a message in a mailbox.
type stored struct {
	uid   imap.UID
	flags []imap.Flag
	raw   []byte
}

// mailbox reads a whole mailbox, in the order of UIDs.
func (s *server) mailbox(t *testing.T, user, name string) (uidValidity uint32, messages []stored) {
	t.Helper()
	c := s.login(t, user, nil)
	defer c.Close()
	sel, err := c.Select(name, &imap.SelectOptions{ReadOnly: true}).Wait()
	require.NoError(t, err)
	if sel.NumMessages == 0 {
		return sel.UIDValidity, nil
	}
	all := imap.SeqSet{}
	all.AddRange(1, 0)
	body := &imap.FetchItemBodySection{Peek: true}
	got, err := c.Fetch(all, &imap.FetchOptions{UID: true, Flags: true, BodySection: []*imap.FetchItemBodySection{body}}).Collect()
	require.NoError(t, err)
	for _, m := range got {
		messages = append(messages, stored{m.UID, m.Flags, m.FindBodySection(body)})
	}
	return sel.UIDValidity, messages
}

// find returns the only message of a mailbox that contains text; it waits for
// it, since not all that is delivered is there when the sender is answered.
func (s *server) find(t *testing.T, user, name, text string) stored {
	t.Helper()
	var found []stored
	require.Eventually(t, func() bool {
		found = nil
		_, all := s.mailbox(t, user, name)
		for _, m := range all {
			if bytes.Contains(m.raw, []byte(text)) {
				found = append(found, m)
			}
		}
		return len(found) > 0
	}, 15*time.Second, 100*time.Millisecond, "%q did not arrive in %s of %s", text, name, user)
	require.Len(t, found, 1, "%q arrived more than once", text)
	return found[0]
}

// append files messages by IMAP.
func (s *server) append(t *testing.T, user, name string, messages ...string) {
	t.Helper()
	c := s.login(t, user, nil)
	defer c.Close()
	for _, m := range messages {
		cmd := c.Append(name, int64(len(m)), nil)
		_, err := cmd.Write([]byte(m))
		require.NoError(t, err)
		require.NoError(t, cmd.Close())
		_, err = cmd.Wait()
		require.NoError(t, err)
	}
}

// crlf makes the line ends of a text those of mail.
func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}
