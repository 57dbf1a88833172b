package interop

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/emersion/go-imap/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestThunderbird drives Thunderbird without a screen: what it shows is asserted
// by the script, what it has done here.
func TestThunderbird(t *testing.T) {
	t.Parallel()
	peer(t, "thunderbird", "python3")
	s := start(t)
	profile := filepath.Join(homeOf(t), "profile")
	require.NoError(t, os.Mkdir(profile, 0o700))
	out := run(t, "", "python3", filepath.Join("testdata", "thunderbird.py"), profile, certFile(), s.port("imaps"), s.port("smtp"), alice, alicePassword)
	require.Contains(t, out, "\nall done\n")
	for box, want := range map[string]map[string][]imap.Flag{
		"INBOX":     {"three": {imap.FlagFlagged, "$label1"}, "four": nil},
		"Junk":      {"one": nil},
		"Trash":     {"two": {imap.FlagSeen}},
		"Drafts":    {"draft": {imap.FlagSeen}},
		"Umbenannt": {"one": nil, "two": {imap.FlagSeen}},
	} {
		_, all := s.mailbox(t, alice, box)
		assert.Len(t, all, len(want), box)
		for subject, flags := range want {
			m := s.find(t, alice, box, "Subject: "+subject+"\r\n")
			for _, f := range flags {
				assert.Contains(t, m.flags, f, "%s in %s", subject, box)
			}
			if flags == nil {
				assert.NotContains(t, m.flags, imap.FlagSeen, "%s in %s", subject, box)
			}
		}
	}
}
