package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestSort(t *testing.T) {
	c := good(t, ` (REVERSE date Subject DATE) utf-8 SINCE 1-Feb-1994 NOT FROM "x"`, (*Parser).Sort)
	assert.Equal(t, []SortCriterion{{SortDate, true}, {SortSubject, false}}, c.By, "a key counts once")
	assert.Equal(t, "UTF-8", c.Charset)
	assert.Len(t, c.Keys, 2)
	assert.False(t, c.Extended)
	c = good(t, ` RETURN (MIN COUNT) (DISPLAYFROM) "US-ASCII" ALL`, (*Parser).Sort)
	assert.True(t, c.Extended)
	assert.Equal(t, ReturnMin|ReturnCount, c.Return)
	c = good(t, " RETURN () (ARRIVAL) {5+}\r\nUTF-8 $", (*Parser).Sort)
	assert.Equal(t, ReturnAll, c.Return)
	assert.True(t, c.Saved)
	c = good(t, " ("+strings.Repeat("SIZE REVERSE SIZE TO ", 1000)+"CC) UTF-8 ALL", (*Parser).Sort)
	assert.Len(t, c.By, 3)
	for _, in := range []string{
		"", " ", " ()", " () UTF-8 ALL", " (DATE) ALL", " (DATE) UTF-8", " (DATE) UTF-8 ", " (DATE)UTF-8 ALL", " DATE UTF-8 ALL", " (REVERSE) UTF-8 ALL",
		" (REVERSE REVERSE DATE) UTF-8 ALL", " (REVERSEDATE) UTF-8 ALL", " (BCC) UTF-8 ALL", " (DATE  TO) UTF-8 ALL", " RETURN (X) (DATE) UTF-8 ALL",
		" RETURN (MIN) UTF-8 ALL", " (DATE) RETURN (MIN) UTF-8 ALL", " (DATE) (UTF-8) ALL", " (DATE) UTF-8 FOO", " (DATE) UTF-8 ALL )", " RETURN(MIN) (DATE) UTF-8 ALL",
	} {
		p := parse(in)
		p.Sort()
		assert.Error(t, p.End(), "%q", in)
	}
}

func TestThread(t *testing.T) {
	for in, want := range map[string]ThreadAlgorithm{"OrderedSubject": ThreadOrderedSubject, "REFERENCES": ThreadReferences, "refs": ThreadRefs} {
		c := good(t, " "+in+" utf-8 TEXT x UNSEEN", (*Parser).Thread)
		assert.Equal(t, want, c.Algorithm)
		assert.Equal(t, "UTF-8", c.Charset)
		assert.Len(t, c.Keys, 2)
	}
	for _, in := range []string{"", " ", " X UTF-8 ALL", " REFS ALL", " REFS UTF-8", " REFS", " REFS UTF-8 ", " (REFS) UTF-8 ALL", " REFS RETURN (MIN) UTF-8 ALL", " REFSUTF-8 ALL"} {
		p := parse(in)
		p.Thread()
		assert.Error(t, p.End(), "%q", in)
	}
}

// What is disabled is as unknown as what there never was.
func TestSortDisabled(t *testing.T) {
	fails := func(off, in string, run func(*Parser)) {
		lim := testLimits
		p := NewParser([]byte(in), lim)
		run(p)
		assert.NoError(t, p.End(), in)
		lim.Off = map[string]bool{off: true}
		p = NewParser([]byte(in), lim)
		run(p)
		assert.Error(t, p.End(), "%s without %s", in, off)
	}
	sort, thread := commandParsers["SORT"], commandParsers["THREAD"]
	fails("ESORT", " RETURN (ALL) (DATE) UTF-8 ALL", sort)
	fails("SORT=DISPLAY", " (DISPLAYTO) UTF-8 ALL", sort)
	fails("THREAD=REFS", " REFS UTF-8 ALL", thread)
	fails("THREAD=REFERENCES", " REFERENCES UTF-8 ALL", thread)
	fails("THREAD=ORDEREDSUBJECT", " ORDEREDSUBJECT UTF-8 ALL", thread)
}
