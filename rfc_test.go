package posta_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	citation = regexp.MustCompile(`RFCs? ((?:\d{3,5}(?:(?:, | and | with | or |/|, RFC )(?:RFC )?)?)+)`)
	number   = regexp.MustCompile(`\d{3,5}`)
	indexRow = regexp.MustCompile(`(?m)^\| (\d+) \| ([^|]+) \| (implemented|part|format|cited) \| ([^|]+) \|$`)
)

// rfc/index.md lists every RFC that the code cites, and the code cites every
// RFC in the packages that the index names.
func TestRFCIndex(t *testing.T) {
	cited := map[string]map[string]bool{} // RFC → packages
	for _, f := range goFiles(t) {
		if f.test {
			continue
		}
		src, err := os.ReadFile(f.name)
		require.NoError(t, err)
		for _, m := range citation.FindAllStringSubmatch(strings.ReplaceAll(string(src), "\n// ", " "), -1) {
			for _, n := range number.FindAllString(m[1], -1) {
				if cited[n] == nil {
					cited[n] = map[string]bool{}
				}
				pkg := f.pkg
				if pkg == "" {
					pkg = "posta"
				}
				cited[n][pkg] = true
			}
		}
	}
	index, err := os.ReadFile("rfc/index.md")
	require.NoError(t, err)
	listed := map[string]bool{}
	var order []string
	for _, row := range indexRow.FindAllStringSubmatch(string(index), -1) {
		n := row[1]
		assert.False(t, listed[n], "RFC %s is listed twice", n)
		listed[n] = true
		order = append(order, strings.Repeat("0", 6-len(n))+n)
		for _, pkg := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(row[4], -1) {
			assert.True(t, cited[n][pkg[1]], "rfc/index.md says that %s obeys RFC %s, but it does not cite it", pkg[1], n)
		}
	}
	assert.True(t, slices.IsSorted(order), "rows are in order of number")
	for n, pkgs := range cited {
		assert.True(t, listed[n], "RFC %s is cited in %v but not listed in rfc/index.md", n, pkgs)
	}
}

var (
	capability    = regexp.MustCompile(`\{name: "([^"]+)", states:`)
	capabilityRow = regexp.MustCompile(`(?m)^\| ([A-Z0-9a-z=+-]+) \| (\d+|draft) \| ([^|]+) \|$`)
)

// rfc/index.md lists every IMAP capability, and tests that there are.
func TestCapabilityIndex(t *testing.T) {
	src, err := os.ReadFile("imap/capability.go")
	require.NoError(t, err)
	index, err := os.ReadFile("rfc/index.md")
	require.NoError(t, err)
	listed := map[string]string{}
	for _, row := range capabilityRow.FindAllStringSubmatch(string(index), -1) {
		listed[row[1]] = row[3]
	}
	tests := ""
	for _, f := range goFiles(t) {
		if f.test && (f.pkg == "imap" || f.pkg == "store") {
			b, err := os.ReadFile(f.name)
			require.NoError(t, err)
			tests += string(b)
		}
	}
	for _, m := range capability.FindAllStringSubmatch(string(src), -1) {
		require.NotEmpty(t, listed[m[1]], "capability %s is not listed in rfc/index.md", m[1])
		for _, name := range strings.Split(listed[m[1]], ", ") {
			for _, word := range strings.Split(name, " to ") {
				switch {
				case word == "all":
				case strings.HasPrefix(word, "Test"):
					assert.True(t, strings.Contains(tests, "func "+word+"("), "%s: %s", m[1], word)
				default:
					assert.FileExists(t, "imap/testdata/"+word+".txt", m[1])
				}
			}
		}
	}
}
