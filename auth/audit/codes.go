package audit

// Code names a kind of finding; it does not change between releases.
type Code string

// The codes.
const (
	BadDomain    Code = "bad-domain"    // not a domain name
	LookupFailed Code = "lookup-failed" // DNS gave no answer
	Budget       Code = "budget"        // the audit has made all its lookups

	MXMissing   Code = "mx-missing"    // neither MX nor address
	MXImplicit  Code = "mx-implicit"   // no MX: mail goes to the domain's address
	MXNull      Code = "mx-null"       // the domain takes no mail
	MXNullMixed Code = "mx-null-mixed" // null MX beside others
	MXNoAddress Code = "mx-no-address" // a mail server without an address
	MXLiteral   Code = "mx-literal"    // an address instead of a name
	MXCNAME     Code = "mx-cname"      // a mail server that is an alias
	MXSingle    Code = "mx-single"     // only one address in all

	SPFMissing  Code = "spf-missing"
	SPFMultiple Code = "spf-multiple"
	SPFSyntax   Code = "spf-syntax"
	SPFLookups  Code = "spf-lookups"  // more than ten lookups
	SPFNear     Code = "spf-near"     // nine or ten lookups
	SPFVoid     Code = "spf-void"     // more than two lookups without answer
	SPFDead     Code = "spf-dead"     // a term that can never match, or an include without record
	SPFMXHosts  Code = "spf-mx-hosts" // mx with more than ten servers
	SPFPassAll  Code = "spf-pass-all" // everybody may send
	SPFNeutral  Code = "spf-neutral"  // says nothing about others
	SPFNoEnd    Code = "spf-no-end"   // neither all nor redirect
	SPFAfterAll Code = "spf-after-all"
	SPFPTR      Code = "spf-ptr"
	SPFLoop     Code = "spf-loop"
	SPFLong     Code = "spf-long"    // does not fit into a small answer
	SPFNoMail   Code = "spf-no-mail" // the domain sends nothing, but may

	DKIMNoSelectors Code = "dkim-no-selectors"
	DKIMMissing     Code = "dkim-missing"
	DKIMMultiple    Code = "dkim-multiple"
	DKIMSyntax      Code = "dkim-syntax"
	DKIMRevoked     Code = "dkim-revoked"
	DKIMShort       Code = "dkim-short"   // verifiers refuse the key
	DKIMWeak        Code = "dkim-weak"    // shorter than signers must use
	DKIMLarge       Code = "dkim-large"   // larger than verifiers must support
	DKIMTesting     Code = "dkim-testing" // t=y
	DKIMUnusable    Code = "dkim-unusable"

	DMARCMissing    Code = "dmarc-missing"
	DMARCMultiple   Code = "dmarc-multiple"
	DMARCUnusable   Code = "dmarc-unusable"
	DMARCNone       Code = "dmarc-none" // p=none
	DMARCSubdomains Code = "dmarc-subdomains"
	DMARCNoReports  Code = "dmarc-no-reports"
	DMARCExternal   Code = "dmarc-external" // reports go where nobody has agreed to them
	DMARCOldTags    Code = "dmarc-old-tags"
	DMARCTesting    Code = "dmarc-testing"
	DMARCInherited  Code = "dmarc-inherited"

	STSMissing    Code = "sts-missing"
	STSMultiple   Code = "sts-multiple"
	STSSyntax     Code = "sts-syntax"
	STSNotFetched Code = "sts-not-fetched"
	STSFetch      Code = "sts-fetch"
	STSPolicy     Code = "sts-policy"
	STSMX         Code = "sts-mx" // a mail server the policy does not name
	STSTesting    Code = "sts-testing"
	STSNone       Code = "sts-none"
	STSAge        Code = "sts-age"

	TLSRPTMissing  Code = "tlsrpt-missing"
	TLSRPTMultiple Code = "tlsrpt-multiple"
	TLSRPTSyntax   Code = "tlsrpt-syntax"

	DANEMissing  Code = "dane-missing"
	DANEPartial  Code = "dane-partial"
	DANEInsecure Code = "dane-insecure"
	DANEUnusable Code = "dane-unusable"

	BIMIMultiple Code = "bimi-multiple"
	BIMISyntax   Code = "bimi-syntax"
	BIMIPolicy   Code = "bimi-policy"
)

// kind is what is fixed about a code.
type kind struct {
	severity  Severity
	reference string
}

// kinds has all codes.
var kinds = map[Code]kind{
	BadDomain:       {Fault, ""},
	LookupFailed:    {Fault, ""},
	Budget:          {Warning, ""},
	MXMissing:       {Fault, "RFC 5321 §5.1"},
	MXNoAddress:     {Fault, "RFC 5321 §5.1"},
	MXImplicit:      {Warning, "RFC 5321 §5.1"},
	MXSingle:        {Note, "RFC 5321 §5.1"},
	MXNull:          {Note, "RFC 7505 §3"},
	MXNullMixed:     {Fault, "RFC 7505 §3"},
	MXLiteral:       {Fault, "RFC 1035 §3.3.9"},
	MXCNAME:         {Warning, "RFC 2181 §10.3"},
	SPFMissing:      {Fault, "RFC 7208 §3"},
	SPFMultiple:     {Fault, "RFC 7208 §4.5"},
	SPFSyntax:       {Fault, "RFC 7208 §4.6"},
	SPFLookups:      {Fault, "RFC 7208 §4.6.4"},
	SPFVoid:         {Fault, "RFC 7208 §4.6.4"},
	SPFMXHosts:      {Fault, "RFC 7208 §4.6.4"},
	SPFLoop:         {Fault, "RFC 7208 §4.6.4"},
	SPFNear:         {Note, "RFC 7208 §4.6.4"},
	SPFDead:         {Fault, "RFC 7208 §5.2"},
	SPFPassAll:      {Fault, "RFC 7208 §5.1"},
	SPFNeutral:      {Warning, "RFC 7208 §5.1"},
	SPFAfterAll:     {Warning, "RFC 7208 §5.1"},
	SPFNoEnd:        {Warning, "RFC 7208 §4.7"},
	SPFPTR:          {Warning, "RFC 7208 §5.5"},
	SPFLong:         {Warning, "RFC 7208 §3.4"},
	SPFNoMail:       {Warning, "RFC 7208 §10.1.2"},
	DKIMNoSelectors: {Note, "RFC 6376 §3.1"},
	DKIMMissing:     {Fault, "RFC 6376 §3.6.2"},
	DKIMMultiple:    {Fault, "RFC 6376 §3.6.2"},
	DKIMSyntax:      {Fault, "RFC 6376 §3.6.1"},
	DKIMUnusable:    {Fault, "RFC 6376 §3.6.1"},
	DKIMRevoked:     {Note, "RFC 6376 §3.6.1"},
	DKIMTesting:     {Warning, "RFC 6376 §3.6.1"},
	DKIMShort:       {Fault, "RFC 8301 §3.2"},
	DKIMWeak:        {Warning, "RFC 8301 §3.2"},
	DKIMLarge:       {Warning, "RFC 8301 §3.2"},
	DMARCMissing:    {Fault, "RFC 9989 §4.10"},
	DMARCMultiple:   {Fault, "RFC 9989 §4.10.1"},
	DMARCUnusable:   {Fault, "RFC 9989 §4.10.1"},
	DMARCNone:       {Warning, "RFC 9989 §4.7"},
	DMARCSubdomains: {Warning, "RFC 9989 §4.7"},
	DMARCTesting:    {Warning, "RFC 9989 §4.7"},
	DMARCNoReports:  {Warning, "RFC 9989 §4.7"},
	DMARCExternal:   {Fault, "RFC 9990 §4"},
	DMARCOldTags:    {Note, "RFC 9989 §4.7"},
	DMARCInherited:  {Note, "RFC 9989 §4.10"},
	BIMIMultiple:    {Fault, "draft-brand-indicators-for-message-identification"},
	BIMISyntax:      {Fault, "draft-brand-indicators-for-message-identification"},
	BIMIPolicy:      {Fault, "draft-brand-indicators-for-message-identification"},
	STSMissing:      {Warning, "RFC 8461 §3"},
	STSMultiple:     {Fault, "RFC 8461 §3.1"},
	STSSyntax:       {Fault, "RFC 8461 §3.1"},
	STSNotFetched:   {Note, ""},
	STSFetch:        {Fault, "RFC 8461 §3.3"},
	STSPolicy:       {Fault, "RFC 8461 §3.2"},
	STSMX:           {Fault, "RFC 8461 §4.1"},
	STSTesting:      {Warning, "RFC 8461 §3.2"},
	STSAge:          {Warning, "RFC 8461 §3.2"},
	STSNone:         {Note, "RFC 8461 §3.2"},
	TLSRPTMissing:   {Warning, "RFC 8460 §3"},
	TLSRPTMultiple:  {Fault, "RFC 8460 §3"},
	TLSRPTSyntax:    {Fault, "RFC 8460 §3"},
	DANEMissing:     {Note, "RFC 7672 §1"},
	DANEPartial:     {Warning, "RFC 7672 §2.2"},
	DANEInsecure:    {Warning, "RFC 7672 §2.1"},
	DANEUnusable:    {Fault, "RFC 7672 §3.1"},
}

func (c Code) severity() Severity { return kinds[c].severity }
func (c Code) reference() string  { return kinds[c].reference }
