package wire

import (
	"math"
	"strings"
	"time"
)

// SearchOp is the kind of a search key.
type SearchOp uint8

// The kinds of search keys (RFC 9051 §6.4.4, RFC 3501 §6.4.4).
const (
	SearchAll         SearchOp = iota
	SearchNone                 // matches nothing: RECENT and NEW, as no message is \Recent
	SearchSet                  // Set, by message number
	SearchUID                  // Set, by UID
	SearchFlag                 // Text is the flag
	SearchNotFlag              //
	SearchHeader               // Text is the field's name, Value the text
	SearchBody                 // Value
	SearchText                 // Value
	SearchBefore               // Date
	SearchOn                   //
	SearchSince                //
	SearchSentBefore           //
	SearchSentOn               //
	SearchSentSince            //
	SearchLarger               // Number
	SearchSmaller              //
	SearchModSeq               // Number (RFC 7162 §3.1.5)
	SearchOlder                // Number, in seconds (RFC 5032)
	SearchYounger              //
	SearchSavedBefore          // Date (RFC 8514 §4.3)
	SearchSavedOn              //
	SearchSavedSince           //
	SearchEmailID              // Text (RFC 8474 §6)
	SearchThreadID             //
	SearchFilter               // Text (RFC 5466 §3.1)
	SearchNot                  // Keys[0]
	SearchOr                   // Keys[0], Keys[1]
	SearchAnd                  // Keys
)

// SearchKey is one key of a search.
type SearchKey struct {
	Op          SearchOp
	Set         NumSet
	Text, Value string
	Date        time.Time
	Number      uint64
	Keys        []SearchKey
}

// SearchReturn is a set of result options (RFC 9051 §6.4.4).
type SearchReturn uint8

// The result options.
const (
	ReturnMin SearchReturn = 1 << iota
	ReturnMax
	ReturnAll
	ReturnCount
	ReturnSave    // RFC 5182
	ReturnPartial // Search.Page (RFC 9394)
	ReturnUpdate  // RFC 5267 §4.3
	ReturnContext // RFC 5267 §4.2, a hint

	// returnNoData are options that ask for nothing to be told.
	returnNoData = ReturnUpdate | ReturnContext
)

// Search is SEARCH or UID SEARCH.
type Search struct {
	// Extended: RETURN was given; Return is what it asks for, ReturnAll for
	// an empty list.
	Extended bool
	Return   SearchReturn
	Page     Page   // of ReturnPartial
	Charset  string // in upper case; empty if not given
	Keys     []SearchKey
	ModSeq   bool // MODSEQ was used
	Saved    bool // "$" was used
	Numbers  bool // message numbers were used
	Fuzzy    bool // FUZZY was used
}

// OnlyEnds reports whether nothing is asked for but the first and the last message,
// their mod-sequences aside.
func (c *Search) OnlyEnds() bool {
	const ends = ReturnMin | ReturnMax
	return c.Extended && c.Return&ends != 0 && c.Return&^(ends|ReturnSave) == 0
}

// Search reads the arguments of SEARCH.
func (p *Parser) Search() (c Search) {
	s := searchParser{Parser: p, c: &c}
	p.Space()
	s.returnOptions()
	if p.keywordIs("CHARSET") {
		s.charset()
	}
	s.program()
	return c
}

type searchParser struct {
	*Parser
	c     *Search
	terms int
}

// returnOptions reads RETURN and what it asks for, if that is there, and the
// space behind it.
func (s *searchParser) returnOptions() {
	if !s.keywordIs("RETURN") {
		return
	}
	s.Space()
	s.c.Extended = true
	s.list(true, s.returnOption)
	if s.c.Return&^returnNoData == 0 {
		s.c.Return |= ReturnAll
	}
	if s.c.Return&ReturnPartial != 0 && s.c.Return&ReturnAll != 0 { // RFC 9394 §3.1
		s.fail("ALL and PARTIAL exclude each other")
	}
	s.Space()
}

// charset reads the name of a character set between spaces.
func (s *searchParser) charset() {
	s.Space()
	s.c.Charset = strings.ToUpper(s.Astring())
	s.Space()
}

// program reads search keys to the end of the command.
func (s *searchParser) program() {
	for s.err == nil {
		s.c.Keys = append(s.c.Keys, s.key(0))
		if s.AtEnd() {
			break
		}
		s.Space()
	}
}

func (s *searchParser) returnOption() {
	switch s.Keyword() {
	case "MIN":
		s.c.Return |= ReturnMin
	case "MAX":
		s.c.Return |= ReturnMax
	case "ALL":
		s.c.Return |= ReturnAll
	case "COUNT":
		s.c.Return |= ReturnCount
	case "SAVE":
		s.c.Return |= ReturnSave
	case "PARTIAL":
		s.needs("PARTIAL", "Unknown result option")
		if s.c.Return&ReturnPartial != 0 {
			s.fail("PARTIAL may be there once") // RFC 9394 §3.1
		}
		s.Space()
		s.c.Page = s.Page()
		s.c.Return |= ReturnPartial
	case "UPDATE":
		s.needs("CONTEXT=SEARCH", "Unknown result option")
		s.c.Return |= ReturnUpdate
	case "CONTEXT":
		s.needs("CONTEXT=SEARCH", "Unknown result option")
		s.c.Return |= ReturnContext
	default:
		s.fail("Unknown result option")
	}
}

// flagKeys are the keys that stand for a flag.
var flagKeys = map[string]SearchKey{
	"ANSWERED": {Op: SearchFlag, Text: `\Answered`}, "UNANSWERED": {Op: SearchNotFlag, Text: `\Answered`},
	"DELETED": {Op: SearchFlag, Text: `\Deleted`}, "UNDELETED": {Op: SearchNotFlag, Text: `\Deleted`},
	"DRAFT": {Op: SearchFlag, Text: `\Draft`}, "UNDRAFT": {Op: SearchNotFlag, Text: `\Draft`},
	"FLAGGED": {Op: SearchFlag, Text: `\Flagged`}, "UNFLAGGED": {Op: SearchNotFlag, Text: `\Flagged`},
	"SEEN": {Op: SearchFlag, Text: `\Seen`}, "UNSEEN": {Op: SearchNotFlag, Text: `\Seen`},
	"ALL": {Op: SearchAll}, "OLD": {Op: SearchAll}, "NEW": {Op: SearchNone}, "RECENT": {Op: SearchNone},
}

// argKeys are the keys with one argument.
var argKeys = map[string]SearchOp{
	"KEYWORD": SearchFlag, "UNKEYWORD": SearchNotFlag,
	"BODY": SearchBody, "TEXT": SearchText,
	"BCC": SearchHeader, "CC": SearchHeader, "FROM": SearchHeader, "SUBJECT": SearchHeader, "TO": SearchHeader,
	"BEFORE": SearchBefore, "ON": SearchOn, "SINCE": SearchSince,
	"SENTBEFORE": SearchSentBefore, "SENTON": SearchSentOn, "SENTSINCE": SearchSentSince,
	"LARGER": SearchLarger, "SMALLER": SearchSmaller,
	"OLDER": SearchOlder, "YOUNGER": SearchYounger,
	"SAVEDBEFORE": SearchSavedBefore, "SAVEDON": SearchSavedOn, "SAVEDSINCE": SearchSavedSince,
	"EMAILID": SearchEmailID, "THREADID": SearchThreadID, "FILTER": SearchFilter,
}

// keyNeeds are the capabilities that keys belong to.
var keyNeeds = map[string]string{
	"OLDER": "WITHIN", "YOUNGER": "WITHIN", "FILTER": "FILTERS", "EMAILID": "OBJECTID", "THREADID": "OBJECTID", "FUZZY": "SEARCH=FUZZY",
	"SAVEDBEFORE": "SAVEDATE", "SAVEDON": "SAVEDATE", "SAVEDSINCE": "SAVEDATE", "SAVEDATESUPPORTED": "SAVEDATE",
}

// key reads one key. Its depth and the number of all keys are bounded.
func (s *searchParser) key(depth int) (k SearchKey) {
	if s.terms++; s.terms > s.lim.SearchTerms {
		s.fail("Search has too many keys")
	}
	if depth > s.lim.Nesting {
		s.fail("Search is nested too deep")
	}
	switch {
	case s.err != nil:
		return k
	case s.peek() == '(':
		k.Op = SearchAnd
		s.list(false, func() { k.Keys = append(k.Keys, s.key(depth+1)) })
		return k
	case s.isNumSet():
		k.Op, k.Set = SearchSet, s.NumSet()
		s.c.Saved = s.c.Saved || k.Set.Saved
		s.c.Numbers = s.c.Numbers || !k.Set.Saved
		return k
	}
	word := s.Keyword()
	if f, ok := flagKeys[word]; ok {
		return f
	}
	if capability, ok := keyNeeds[word]; ok {
		s.needs(capability, "Unknown search key")
	}
	switch word {
	case "SAVEDATESUPPORTED": // RFC 8514 §4.3: of every mailbox
		return SearchKey{Op: SearchAll}
	case "FUZZY": // RFC 6203 §3
		s.Space()
		s.c.Fuzzy = true
		return SearchKey{Op: SearchAnd, Keys: []SearchKey{s.key(depth + 1)}}
	case "NOT":
		s.Space()
		return SearchKey{Op: SearchNot, Keys: []SearchKey{s.key(depth + 1)}}
	case "OR":
		s.Space()
		a := s.key(depth + 1)
		s.Space()
		return SearchKey{Op: SearchOr, Keys: []SearchKey{a, s.key(depth + 1)}}
	case "UID":
		s.Space()
		k.Op, k.Set = SearchUID, s.NumSet()
		s.c.Saved = s.c.Saved || k.Set.Saved
		return k
	case "HEADER":
		s.Space()
		k.Op, k.Text = SearchHeader, s.Astring()
		s.Space()
		k.Value = s.Astring()
		return k
	case "MODSEQ":
		return s.modSeq()
	case "UIDAFTER", "UIDBEFORE":
		return s.uidBound(word)
	}
	op, ok := argKeys[word]
	if !ok {
		s.fail("Unknown search key")
		return k
	}
	s.Space()
	return s.argument(word, op)
}

func (s *searchParser) argument(word string, op SearchOp) (k SearchKey) {
	k.Op = op
	switch op {
	case SearchFlag, SearchNotFlag:
		k.Text = s.Atom()
	case SearchHeader:
		k.Text, k.Value = word, s.Astring()
	case SearchBody, SearchText:
		k.Value = s.Astring()
	case SearchLarger, SearchSmaller:
		k.Number = s.Number64()
	case SearchOlder, SearchYounger:
		k.Number = uint64(s.nonZero())
	case SearchEmailID, SearchThreadID:
		k.Text = s.objectID()
	case SearchFilter:
		if k.Text = s.Atom(); strings.ContainsRune(k.Text, '/') { // RFC 5466 §4
			s.fail("Invalid name of a filter")
		}
	default:
		k.Date = s.date()
	}
	return k
}

// objectID reads an identifier (RFC 8474 §7).
func (s *searchParser) objectID() string {
	id := s.Atom()
	for i := range len(id) {
		if c := id[i]; c|0x20-'a' >= 26 && c-'0' > 9 && c != '_' && c != '-' || i == 255 {
			s.fail("Invalid object identifier")
			break
		}
	}
	return id
}

// uidBound reads UIDAFTER or UIDBEFORE (RFC 9738 §3.2), which are ranges of
// UIDs. Unlike in "n:*" the last message is in them only if it belongs there.
func (s *searchParser) uidBound(word string) SearchKey {
	s.needs("MESSAGELIMIT", "Unknown search key")
	s.Space()
	uid := s.nonZero()
	r := NumRange{From: 1, To: uid - 1}
	if word == "UIDAFTER" {
		r = NumRange{From: uid + 1, To: math.MaxUint32}
	}
	if r.From == 0 || r.To == 0 {
		return SearchKey{Op: SearchNone}
	}
	return SearchKey{Op: SearchUID, Set: NumSet{Ranges: []NumRange{r}}}
}

// modSeq reads MODSEQ [entry-name entry-type] mod-sequence-valzer. Entries are
// accepted and not told apart: all flags share one mod-sequence (RFC 7162
// §3.1.5).
func (s *searchParser) modSeq() SearchKey {
	s.Space()
	if s.peek() == '"' {
		s.quoted()
		s.Space()
		switch s.Keyword() {
		case "ALL", "PRIV", "SHARED":
		default:
			s.fail("Unknown entry type")
		}
		s.Space()
	}
	s.c.ModSeq = true
	return SearchKey{Op: SearchModSeq, Number: s.Number64()}
}
