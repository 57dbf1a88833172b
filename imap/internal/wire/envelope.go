package wire

import "github.com/posta-mail/posta/message"

// AppendEnvelope appends an envelope (RFC 9051 §7.5.2): NIL for a field that
// is missing, "" for one that is empty.
func AppendEnvelope(b []byte, e *message.Envelope, utf8 bool) []byte {
	b = append(b, '(')
	b = AppendNString(b, e.Date, e.HasDate, utf8)
	b = append(b, ' ')
	b = AppendNString(b, e.Subject, e.HasSubject, utf8)
	b = append(b, ' ')
	b = appendAddresses(b, e.From, utf8)
	b = append(b, ' ')
	b = appendAddresses(b, e.SenderOrFrom(), utf8)
	b = append(b, ' ')
	b = appendAddresses(b, e.ReplyToOrFrom(), utf8)
	b = append(b, ' ')
	b = appendAddresses(b, e.To, utf8)
	b = append(b, ' ')
	b = appendAddresses(b, e.Cc, utf8)
	b = append(b, ' ')
	b = appendAddresses(b, e.Bcc, utf8)
	b = append(b, ' ')
	b = AppendNString(b, e.InReplyTo, e.HasInReplyTo, utf8)
	b = append(b, ' ')
	b = AppendNString(b, e.MessageID, e.HasMessageID, utf8)
	return append(b, ')')
}

func appendAddresses(b []byte, list []message.Address, utf8 bool) []byte {
	if len(list) == 0 {
		return append(b, "NIL"...)
	}
	b = append(b, '(')
	for i := range list {
		a := &list[i]
		b = append(b, '(')
		// A group's start has its name as mailbox and no host, its end neither.
		b = AppendNString(b, a.RawName, a.RawName != "" && a.Host != "", utf8)
		b = append(b, ' ')
		b = AppendNString(b, a.Route, a.Route != "", utf8)
		b = append(b, ' ')
		b = AppendNString(b, a.Mailbox, a.Mailbox != "" || a.Host != "", utf8)
		b = append(b, ' ')
		b = AppendNString(b, a.Host, a.Host != "", utf8)
		b = append(b, ')')
	}
	return append(b, ')')
}
