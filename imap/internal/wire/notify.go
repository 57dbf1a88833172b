package wire

// NotifyEvents is a set of events (RFC 5465 §5).
type NotifyEvents uint16

// The events of NOTIFY.
const (
	NotifyNew            NotifyEvents = 1 << iota // MessageNew
	NotifyExpunge                                 // MessageExpunge
	NotifyFlags                                   // FlagChange
	NotifyAnnotation                              // AnnotationChange
	NotifyName                                    // MailboxName
	NotifySubscription                            // SubscriptionChange
	NotifyMetadata                                // MailboxMetadataChange
	NotifyServerMetadata                          // ServerMetadataChange
	NotifyUnknown                                 // any other
	notifyMessage        = NotifyNew | NotifyExpunge | NotifyFlags | NotifyAnnotation
)

// NotifyNames are the names of the events by bit.
var NotifyNames = [...]string{"MessageNew", "MessageExpunge", "FlagChange", "AnnotationChange",
	"MailboxName", "SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange"}

var notifyEvents = map[string]NotifyEvents{
	"MESSAGENEW": NotifyNew, "MESSAGEEXPUNGE": NotifyExpunge, "FLAGCHANGE": NotifyFlags, "ANNOTATIONCHANGE": NotifyAnnotation,
	"MAILBOXNAME": NotifyName, "SUBSCRIPTIONCHANGE": NotifySubscription,
	"MAILBOXMETADATACHANGE": NotifyMetadata, "SERVERMETADATACHANGE": NotifyServerMetadata,
}

// NotifyFilter says which mailboxes a group is about (RFC 5465 §6).
type NotifyFilter uint8

// The filters.
const (
	NotifySelected NotifyFilter = iota + 1
	NotifySelectedDelayed
	NotifyInboxes
	NotifyPersonal
	NotifySubscribed
	NotifySubtree
	NotifyMailboxes
)

// notifyFilters are the filters by name.
var notifyFilters = map[string]NotifyFilter{
	"SELECTED": NotifySelected, "SELECTED-DELAYED": NotifySelectedDelayed, "INBOXES": NotifyInboxes, "PERSONAL": NotifyPersonal,
	"SUBSCRIBED": NotifySubscribed, "SUBTREE": NotifySubtree, "MAILBOXES": NotifyMailboxes,
}

// Notify is NOTIFY (RFC 5465 §3.1). Without groups it is NOTIFY NONE.
type Notify struct {
	Status bool
	Groups []NotifyGroup
}

// NotifyGroup is the events of some mailboxes.
type NotifyGroup struct {
	Filter    NotifyFilter
	Mailboxes []string     // of NotifySubtree and NotifyMailboxes
	Events    NotifyEvents // none: no events of these mailboxes
	Items     []FetchItem  // of MessageNew
}

// Selected reports whether the group is about the selected mailbox.
func (g *NotifyGroup) Selected() bool { return g.Filter <= NotifySelectedDelayed }

// Notify reads the arguments of NOTIFY. Events that are not known are no error
// (RFC 5465 §3.1).
func (p *Parser) Notify() (c Notify) {
	p.Space()
	switch p.Keyword() {
	case "NONE":
		return c
	case "SET":
	default:
		p.fail("SET or NONE expected")
	}
	p.Space()
	if p.peek() != '(' {
		if !p.keywordIs("STATUS") {
			p.fail("STATUS or a group of events expected")
		}
		c.Status = true
		p.Space()
	}
	selected := false
	for p.err == nil {
		g := p.notifyGroup()
		if g.Selected() {
			if selected { // RFC 5465 §6.1
				p.fail("The selected mailbox is named twice")
			}
			selected = true
		}
		c.Groups = append(c.Groups, g)
		if !p.try(' ') {
			break
		}
	}
	return c
}

func (p *Parser) notifyGroup() (g NotifyGroup) {
	p.expect('(', "Group of events expected")
	if g.Filter = notifyFilters[p.Keyword()]; g.Filter == 0 {
		p.fail("Unknown mailbox filter")
	}
	p.Space()
	if g.Filter >= NotifySubtree {
		if p.peek() == '(' {
			p.list(false, func() { g.Mailboxes = append(g.Mailboxes, p.Astring()) })
		} else {
			g.Mailboxes = []string{p.Astring()}
		}
		p.Space()
	}
	if p.peek() != '(' {
		if !p.keywordIs("NONE") {
			p.fail("Events expected")
		}
		p.expect(')', "Group is not closed")
		return g
	}
	p.list(false, func() { p.notifyEvent(&g) })
	p.expect(')', "Group is not closed")
	const pair = NotifyNew | NotifyExpunge
	switch ev := g.Events; {
	case p.err != nil:
	case g.Selected() && ev&^(notifyMessage|NotifyUnknown) != 0: // RFC 5465 §6.1
		p.fail("Only events of messages concern the selected mailbox")
	case ev&pair != 0 && ev&pair != pair, ev&(NotifyFlags|NotifyAnnotation) != 0 && ev&pair != pair: // RFC 5465 §5
		p.fail("MessageNew and MessageExpunge belong together, and to the events of flags")
	}
	return g
}

// notifyEvent reads an event. The items behind MessageNew are only for the
// selected mailbox (RFC 5465 §8).
func (p *Parser) notifyEvent(g *NotifyGroup) {
	ev := notifyEvents[p.Keyword()]
	if ev == 0 {
		ev = NotifyUnknown
	}
	g.Events |= ev
	if ev != NotifyNew || p.err != nil || p.i+1 >= len(p.b) || string(p.b[p.i:p.i+2]) != " (" {
		return
	}
	if !g.Selected() {
		p.fail("Data items are for the selected mailbox only")
	}
	p.Space()
	var c Fetch
	p.list(false, func() { p.addItem(&c, false) })
	g.Items = c.Items
}
