package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestQResync(t *testing.T) {
	q := good(t, " x (CONDSTORE QRESYNC (67890007 20050715194045000 41,43:211 (1,5:4 41,43:44)))", (*Parser).Select).QResync
	require.NotNil(t, q)
	assert.Equal(t, QResync{UIDValidity: 67890007, ModSeq: 20050715194045000, Known: NumSet{Ranges: []NumRange{{41, 41}, {43, 211}}},
		Matched: true, Numbers: NumSet{Ranges: []NumRange{{1, 1}, {5, 4}}}, UIDs: NumSet{Ranges: []NumRange{{41, 41}, {43, 44}}}}, *q)
	q = good(t, " x (QRESYNC (1 2))", (*Parser).Select).QResync
	assert.Equal(t, QResync{UIDValidity: 1, ModSeq: 2}, *q)
	q = good(t, " x (QRESYNC (1 9223372036854775807 (3 4)))", (*Parser).Select).QResync
	assert.True(t, q.Matched)
	assert.Empty(t, q.Known.Ranges)
	for _, in := range []string{
		"", " ()", " (1)", " (0 1)", " (1 0)", " (1 9223372036854775808)", " (1 2 *)", " (1 2 1:*)", " (1 2 $)", " (1 2 3 4)", " (1 2 3 (1))", " (1 2 3 (1:2 1))",
		" (1 2 3 (1:4294967295,1:4294967295 1))", " (1 2 3 (1 *))", " (1 2 3 (1 2)", " (1 2 3 (1 2) 4)", " (1 2 )", " 1", " (1 2 3 )", " (4294967296 1)",
	} {
		p := parse(" x (QRESYNC" + in + ")")
		p.Select()
		assert.Error(t, p.End(), in)
	}
}

func TestUIDBatches(t *testing.T) {
	assert.Equal(t, UIDBatches{Size: 2000}, good(t, " 2000", (*Parser).UIDBatches))
	assert.Equal(t, UIDBatches{Size: 500, From: 4, To: 1}, good(t, " 500 4:1", (*Parser).UIDBatches))
	for _, in := range []string{"", " ", " 0", " x", " 500 ", " 500 1", " 500 1:", " 500 0:1", " 500 1:*", " 500 1:2 3", " 4294967296"} {
		p := parse(in)
		p.UIDBatches()
		assert.Error(t, p.End(), in)
	}
}

// TestArgumentsOff: what belongs to a capability that is disabled is not there.
func TestArgumentsOff(t *testing.T) {
	for in, run := range map[string]func(*Parser){
		" x (CONDSTORE)":                     func(p *Parser) { p.Select() },
		" x (QRESYNC (1 2))":                 func(p *Parser) { p.Select() },
		" 1 (UNCHANGEDSINCE 1) FLAGS ()":     func(p *Parser) { p.Store() },
		" 1 FLAGS (CHANGEDSINCE 1)":          func(p *Parser) { p.Fetch() },
		" 1 FLAGS (CHANGEDSINCE 1 VANISHED)": func(p *Parser) { p.Fetch() },
	} {
		p := parse(in)
		run(p)
		assert.NoError(t, p.End(), in)
		p = parse(in)
		p.lim.Off = map[string]bool{"CONDSTORE": true, "QRESYNC": true}
		run(p)
		assert.Error(t, p.End(), in)
	}
}
