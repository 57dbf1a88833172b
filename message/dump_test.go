package message

import (
	"fmt"
	"strings"
)

// dump writes an outline as text, one line a thing: what the golden files hold.
func dump(o *Outline) string {
	var b strings.Builder
	fmt.Fprintf(&b, "size %d, header %d+%d", o.Size, o.Header.Offset, o.Header.Size)
	for i, name := range []string{"NUL", "bare-CR", "bare-LF", "long-line", "8bit-body", "8bit-header"} {
		if o.Traits&(1<<i) != 0 {
			b.WriteString(" " + name)
		}
	}
	b.WriteString("\n")
	dumpEnvelope(&b, "", &o.Envelope)
	dumpPart(&b, o.Root, "")
	for _, d := range o.Defects {
		fmt.Fprintf(&b, "! %s\n", d)
	}
	return b.String()
}

func dumpEnvelope(b *strings.Builder, indent string, e *Envelope) {
	str := func(name, v string, has bool) {
		if has {
			fmt.Fprintf(b, "%s%s: %q\n", indent, name, v)
		}
	}
	str("date", e.Date, e.HasDate)
	str("subject", e.Subject, e.HasSubject)
	str("in-reply-to", e.InReplyTo, e.HasInReplyTo)
	str("message-id", e.MessageID, e.HasMessageID)
	for i, l := range [][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc} {
		for _, a := range l {
			fmt.Fprintf(b, "%s%s: %s\n", indent, addressFields[i].name(), dumpAddress(a))
		}
	}
}

func dumpAddress(a Address) string {
	switch {
	case a.IsGroupStart():
		return fmt.Sprintf("group %q", a.Mailbox)
	case a.IsGroupEnd():
		return "group end"
	}
	s := fmt.Sprintf("%q %q @ %q", a.Name, a.Mailbox, a.Host)
	if a.RawName != a.Name {
		s += fmt.Sprintf(" raw %q", a.RawName)
	}
	if a.Route != "" {
		s += fmt.Sprintf(" route %q", a.Route)
	}
	return s
}

func dumpPart(b *strings.Builder, p *Part, indent string) {
	fmt.Fprintf(b, "%s%s/%s %s header %d+%d body %d+%d lines %d", indent, p.Type, p.Subtype, p.Encoding,
		p.HeaderOffset, p.HeaderSize, p.BodyOffset, p.BodySize, p.Lines)
	for _, q := range p.Params {
		fmt.Fprintf(b, " %s=%q", q.Name, q.Value)
	}
	for _, f := range [][2]string{{"id", p.ID}, {"description", p.Description}, {"md5", p.MD5}, {"location", p.Location},
		{"disposition", p.Disposition}} {
		if f[1] != "" {
			fmt.Fprintf(b, " [%s %q]", f[0], f[1])
		}
	}
	for _, q := range p.DispositionParams {
		fmt.Fprintf(b, " d:%s=%q", q.Name, q.Value)
	}
	if p.Language != nil {
		fmt.Fprintf(b, " language %q", p.Language)
	}
	b.WriteString("\n")
	if p.Envelope != nil {
		dumpEnvelope(b, indent+"    ", p.Envelope)
	}
	for _, c := range p.Parts {
		dumpPart(b, c, indent+"  ")
	}
}
