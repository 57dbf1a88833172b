package smtp

import (
	"context"
	"io"
	"log/slog"
	"time"
)

// LogMessages writes one record for each message and one for each refusal, at
// level Info: "message accepted", "message refused", "sender refused",
// "recipient refused" and "connection refused", with the peer, the login name,
// the envelope, the octets of the message, how long it took, and the reply or
// error. Neither credentials nor anything of a message's text is in them. It
// sees what the Middleware and Handler within it decide; put it first. What the
// Server itself refuses (syntax, order, its own limits) never comes here: see
// [Trace]. A nil logger writes nothing.
//
// In LMTP a message is accepted if it is for one recipient at least, and each
// of the others has a record of its own.
func LogMessages(logger *slog.Logger) Middleware {
	if logger == nil {
		return func(next Handler) Handler { return next }
	}
	return func(next Handler) Handler {
		return HandlerFunc(func(ctx context.Context, c *Conn) (Session, error) {
			s, err := next.NewSession(ctx, c)
			l := &logSession{Wrapper: Wrapper{s}, log: logger, conn: c}
			if err != nil {
				l.record(ctx, "connection refused", errAttr(err))
				return nil, err
			}
			if s == nil {
				return nil, nil
			}
			return l, nil
		})
	}
}

type logSession struct {
	Wrapper
	log  *slog.Logger
	conn *Conn
	from Path
	to   []Path // that were accepted
}

// record adds who it is about.
func (s *logSession) record(ctx context.Context, msg string, attrs ...slog.Attr) {
	who := make([]slog.Attr, 0, len(attrs)+3)
	p := s.conn.Peer()
	who = append(who, slog.Any("peer", p))
	if p.HELO != "" {
		who = append(who, slog.String("helo", p.HELO))
	}
	if id := s.conn.Identity(); id != nil {
		who = append(who, slog.String("user", id.Login))
	}
	s.log.LogAttrs(ctx, slog.LevelInfo, msg, append(who, attrs...)...)
}

func errAttr(err error) slog.Attr { return slog.String("err", err.Error()) }

func pathAttr(key string, p Path) slog.Attr { return slog.String(key, p.String()) }

func (s *logSession) Mail(ctx context.Context, from Path, opts MailOptions) (Reply, error) {
	r, err := s.Wrapper.Mail(ctx, from, opts)
	if err != nil {
		s.record(ctx, "sender refused", pathAttr("from", from), errAttr(err))
	}
	s.from = from
	return r, err
}

func (s *logSession) Rcpt(ctx context.Context, to Path, opts RcptOptions) (Reply, error) {
	r, err := s.Wrapper.Rcpt(ctx, to, opts)
	if err != nil {
		s.refused(ctx, to, err)
	} else {
		s.to = append(s.to, to)
	}
	return r, err
}

func (s *logSession) refused(ctx context.Context, to Path, err error) {
	s.record(ctx, "recipient refused", pathAttr("from", s.from), pathAttr("to", to), errAttr(err))
}

// maxLogged is how many recipients one record names.
const maxLogged = 10

func (s *logSession) Data(ctx context.Context, r io.Reader) (Result, error) {
	began, m := time.Now(), &meter{r: r, limit: -1}
	res, err := s.Wrapper.Data(ctx, m)
	size, failed := m.finish(err)
	if err == nil && failed != nil { // the Server will refuse it
		s.message(ctx, began, size, s.to, "message refused", errAttr(failed))
		return res, err
	}
	if err != nil {
		s.message(ctx, began, size, s.to, "message refused", errAttr(err))
		return res, err
	}
	got := s.to
	if s.conn.LMTP() && len(res.Recipients) > 0 {
		got = nil
		for i, to := range s.to {
			var err error = AsError(nil) // as the Server says for who is not in the list
			if i < len(res.Recipients) {
				err = res.Recipients[i]
			}
			if err == nil {
				got = append(got, to)
			} else {
				s.refused(ctx, to, err)
			}
		}
		if len(got) == 0 {
			return res, nil // that has been said for each
		}
	}
	s.message(ctx, began, size, got, "message accepted",
		slog.String("reply", res.Reply.or(250, EnhancedCode{2, 0, 0}, "OK").String()))
	return res, nil
}

func (s *logSession) message(ctx context.Context, began time.Time, size int64, to []Path, msg string, outcome slog.Attr) {
	names := make([]string, 0, min(len(to), maxLogged))
	for _, p := range to[:min(len(to), maxLogged)] {
		names = append(names, p.String())
	}
	s.record(ctx, msg, pathAttr("from", s.from), slog.Any("to", names), slog.Int("recipients", len(to)),
		slog.Int64("size", size), slog.Duration("duration", time.Since(began)), outcome)
}

func (s *logSession) Reset() {
	s.from, s.to = Path{}, nil
	s.Wrapper.Reset()
}
