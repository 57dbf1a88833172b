package wire

import (
	"strconv"

	"github.com/posta-mail/posta/message"
)

// AppendBodyStructure appends the structure of a part and all below it (RFC
// 9051 §7.5.2): BODYSTRUCTURE, or BODY without extension data.
func AppendBodyStructure(b []byte, p *message.Part, extended, utf8 bool) []byte {
	b = append(b, '(')
	if p.IsMultipart() {
		for _, c := range p.Parts {
			b = AppendBodyStructure(b, c, extended, utf8)
		}
		b = append(b, ' ')
		b = AppendString(b, p.Subtype, utf8)
		if extended {
			b = append(b, ' ')
			b = appendParams(b, p.Params, utf8)
			b = appendExtension(b, p, utf8)
		}
		return append(b, ')')
	}
	b = AppendString(b, p.Type, utf8)
	b = append(b, ' ')
	if p.IsMessage() && !utf8 { // RFC 9755 §3: message/global is for who knows it
		b = append(b, `"rfc822"`...)
	} else {
		b = AppendString(b, p.Subtype, utf8)
	}
	b = append(b, ' ')
	b = appendParams(b, p.Params, utf8)
	b = append(b, ' ')
	b = AppendNString(b, p.ID, p.ID != "", utf8)
	b = append(b, ' ')
	b = AppendNString(b, p.Description, p.Description != "", utf8)
	b = append(b, ' ')
	b = AppendString(b, p.Encoding, utf8)
	b = append(b, ' ')
	b = strconv.AppendInt(b, p.BodySize, 10)
	if p.IsMessage() {
		b = append(b, ' ')
		b = AppendEnvelope(b, p.Envelope, utf8)
		b = append(b, ' ')
		b = AppendBodyStructure(b, p.Parts[0], extended, utf8)
	}
	if p.IsMessage() || p.Type == "text" {
		b = append(b, ' ')
		b = strconv.AppendInt(b, p.Lines, 10)
	}
	if extended {
		b = append(b, ' ')
		b = AppendNString(b, p.MD5, p.MD5 != "", utf8)
		b = appendExtension(b, p, utf8)
	}
	return append(b, ')')
}

// appendExtension appends disposition, language and location.
func appendExtension(b []byte, p *message.Part, utf8 bool) []byte {
	b = append(b, ' ')
	if p.Disposition == "" {
		b = append(b, "NIL"...)
	} else {
		b = append(b, '(')
		b = AppendString(b, p.Disposition, utf8)
		b = append(b, ' ')
		b = appendParams(b, p.DispositionParams, utf8)
		b = append(b, ')')
	}
	b = append(b, ' ')
	if len(p.Language) == 0 {
		b = append(b, "NIL"...)
	} else {
		sep := byte('(')
		for _, l := range p.Language {
			b = append(b, sep)
			b = AppendString(b, l, utf8)
			sep = ' '
		}
		b = append(b, ')')
	}
	b = append(b, ' ')
	return AppendNString(b, p.Location, p.Location != "", utf8)
}

func appendParams(b []byte, params []message.Param, utf8 bool) []byte {
	if len(params) == 0 {
		return append(b, "NIL"...)
	}
	sep := byte('(')
	for i := range params {
		b = append(b, sep)
		b = AppendString(b, params[i].Name, utf8)
		b = append(b, ' ')
		b = AppendString(b, params[i].Value, utf8)
		sep = ' '
	}
	return append(b, ')')
}
