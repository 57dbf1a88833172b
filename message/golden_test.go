package message

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew; read them before committing")

// Each testdata/NN-name.eml has its outline beside it, as text.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.eml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			msg, err := os.ReadFile(file)
			require.NoError(t, err)
			o := ParseBytes(msg, nil)
			checkOutline(t, msg, o)
			got := dump(o)
			golden := strings.TrimSuffix(file, ".eml") + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got), 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

// The messages of others have no expectation but this: an outline that keeps
// its promises, whatever is wrong with them.
func TestVectors(t *testing.T) {
	dir := os.Getenv("POSTA_VECTORS")
	if dir == "" {
		t.Skip("POSTA_VECTORS names no folder of public test messages")
	}
	files, err := filepath.Glob(filepath.Join(dir, "eml", "*", "*.eml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) {
			msg, err := os.ReadFile(file)
			require.NoError(t, err)
			checkOutline(t, msg, ParseBytes(msg, nil))
			crlf := bytes.ReplaceAll(bytes.ReplaceAll(msg, []byte("\r\n"), []byte("\n")), []byte("\n"), []byte("\r\n"))
			checkOutline(t, crlf, ParseBytes(crlf, nil))
		})
	}
}
