package dmarc

import (
	"bytes"
	"encoding/xml"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// node is an element of XML.
type node struct {
	XMLName  xml.Name
	Text     string `xml:",chardata"`
	Children []node `xml:",any"`
}

// form says what an element holds (RFC 9990 §3.1 and its schema): its children
// by name, in this order where ordered, with "?" for those that may be missing,
// "*" for any number; or the words that may stand in it.
type form struct {
	children string
	ordered  bool
	words    string
}

var forms = map[string]form{
	"feedback":          {"version? report_metadata policy_published extension? record*", true, ""},
	"report_metadata":   {"org_name email extra_contact_info? report_id date_range error* generator?", false, ""},
	"date_range":        {"begin end", false, ""},
	"policy_published":  {"domain discovery_method? p sp np? fo? adkim? aspf? testing?", false, ""},
	"record":            {"row identifiers auth_results", true, ""},
	"row":               {"source_ip count policy_evaluated", true, ""},
	"policy_evaluated":  {"disposition dkim spf reason*", true, ""},
	"reason":            {"type comment?", false, ""},
	"identifiers":       {"header_from envelope_from? envelope_to?", false, ""},
	"auth_results":      {"dkim* spf*", true, ""},
	"auth_results/dkim": {"domain selector result human_result?", false, ""},
	"auth_results/spf":  {"domain scope? result human_result?", false, ""},

	"p": {words: "none quarantine reject"}, "sp": {words: "none quarantine reject"}, "np": {words: "none quarantine reject"},
	"adkim": {words: "r s"}, "aspf": {words: "r s"}, "testing": {words: "y n"}, "discovery_method": {words: "psl treewalk"},
	"disposition": {words: "none pass quarantine reject"}, "policy_evaluated/dkim": {words: "pass fail"}, "policy_evaluated/spf": {words: "pass fail"},
	"reason/type": {words: "local_policy mailing_list other policy_test_mode trusted_forwarder"}, "spf/scope": {words: "mfrom helo"},
	"dkim/result": {words: "none pass fail policy neutral temperror permerror"},
	"spf/result":  {words: "none pass fail softfail neutral temperror permerror"},
}

func (n *node) check(t *testing.T, parent string) {
	name := n.XMLName.Local
	assert.Equal(t, Namespace, n.XMLName.Space, name)
	f, ok := forms[parent+"/"+name]
	if !ok {
		f = forms[name]
	}
	if f.words != "" {
		assert.Contains(t, strings.Fields(f.words), n.Text, name)
	}
	var got []string
	for i := range n.Children {
		got = append(got, n.Children[i].XMLName.Local)
		n.Children[i].check(t, name)
	}
	rest := slices.Clone(got)
	for child := range strings.FieldsSeq(f.children) {
		kind := strings.Trim(child, "abcdefghijklmnopqrstuvwxyz_")
		child = strings.TrimRight(child, "?*")
		count := 0
		for i := 0; i < len(rest); {
			if rest[i] == child {
				rest, count = slices.Delete(rest, i, i+1), count+1
			} else if f.ordered {
				break
			} else {
				i++
			}
		}
		assert.True(t, kind == "*" || count == 1 || kind == "?" && count == 0, "%d of %s in %s", count, child, name)
	}
	assert.Empty(t, rest, "in %s, of %v", name, got)
}

// TestAggregateForm holds reports to the form of RFC 9990.
func TestAggregateForm(t *testing.T) {
	full := sample()
	full.Contact, full.Generator, full.Errors = "https://r.example/", "a program", []string{"one", "two"}
	full.Published = Published{Domain: "a.example", Method: "treewalk", Policy: Reject, Subdomains: None, NonExistent: Quarantine,
		StrictDKIM: true, StrictSPF: true, Testing: true, FailureOptions: "1:d"}
	full.Records[0].Overrides = []Override{{Type: "local_policy", Comment: "a list"}, {Type: "policy_test_mode"}}
	least := sample()
	least.Contact, least.Generator, least.Errors = "", "", nil
	least.Published = Published{Domain: "a.example", Policy: Reject}
	least.Records = []Row{{Source: least.Records[0].Source, Count: 1, Disposition: "none", HeaderFrom: "a.example"}}
	for name, a := range map[string]*Aggregate{"sample": sample(), "full": full, "least": least} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, a.WriteXML(&b))
			var root node
			require.NoError(t, xml.Unmarshal(b.Bytes(), &root))
			assert.Equal(t, "feedback", root.XMLName.Local)
			root.check(t, "")
		})
	}
	var b bytes.Buffer
	require.NoError(t, least.WriteXML(&b))
	assert.Contains(t, b.String(), "<p>reject</p><sp>reject</sp>")
}
