package imap

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// TestMetadataChanges: what NOTIFY tells of entries follows from what is
// remembered.
func TestMetadataChanges(t *testing.T) {
	st := memory.New()
	defer st.Close()
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	acc, err := st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	srv := &Server{}
	srv.setup()
	s := &session{srv: srv, ctx: t.Context(), acc: acc}
	at := place{acc: acc}
	set := func(pairs ...string) {
		var notes []store.Annotation
		for i := 0; i < len(pairs); i += 2 {
			a := store.Annotation{Key: pairs[i]}
			if pairs[i+1] != "" {
				a.Value = []byte(pairs[i+1])
			}
			notes = append(notes, a)
		}
		_, err := acc.(store.Annotations).Annotate(t.Context(), 0, notes...)
		require.NoError(t, err)
	}
	changes := func(old metadataMemory) ([]string, metadataMemory) {
		changed, now, err := s.metadataChanges(at, 0, old)
		require.NoError(t, err)
		return changed, now
	}
	changed, memory := changes(nil)
	assert.Empty(t, changed)
	set("/private/a", "1", "/shared/b", "2", "acl/bob", "lr")
	changed, memory = changes(memory)
	assert.Equal(t, []string{"/private/a", "/shared/b"}, changed)
	changed, memory = changes(memory)
	assert.Empty(t, changed)
	set("/private/a", "x", "/shared/b", "", "/shared/c", "3")
	changed, memory = changes(memory)
	assert.Equal(t, []string{"/private/a", "/shared/b", "/shared/c"}, changed)
	changed, _ = changes(nil)
	assert.Empty(t, changed)
	changed, _ = changes(memory)
	assert.Empty(t, changed)

	s.out.begin()
	s.tellMetadata("A b", []string{"/private/a", "/shared/c d"})
	s.tellMetadata("", nil)
	assert.Equal(t, "* METADATA \"A b\" /private/a \"/shared/c d\"\r\n", string(s.out.b))
}
