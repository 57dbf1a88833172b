package transfer

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"time"
)

// Copy copies all messages of a source, folder by folder. It returns what was
// done also when it fails: ctx's error, one of the source or the sink, or of
// this package. Subscriptions, annotations and limits go along where both
// sides have them.
//
// Only one Copy may use a Checkpoint at a time.
func Copy(ctx context.Context, from Source, to Sink, opt Options) (Report, error) {
	if opt.MaxMessage == 0 {
		opt.MaxMessage = DefaultMaxMessage
	}
	cp, err := loadCheckpoint(opt.Checkpoint, from.Identity(), to.Identity())
	if err != nil {
		return Report{}, err
	}
	if opt.saveEvery > 0 {
		cp.every = opt.saveEvery
	}
	c := &copier{opt: opt, from: from, to: to, cp: cp}
	err = c.run(ctx)
	if err == nil {
		err = copyExtras(ctx, from, to, c.names)
	}
	c.tell(true)
	return c.report, err
}

// copier is one call of Copy.
type copier struct {
	opt    Options
	from   Source
	to     Sink
	cp     *checkpoint
	report Report
	names  map[string]string // of folders, from source to sink
	prog   Progress
	told   time.Time

	folder  Folder // of the source
	state   *folderState
	pending []*outcome // in order; the first is not known yet
}

// outcome is what becomes of a message that has been read.
type outcome struct {
	m     *Message
	body  *bodyReader
	known bool
	filed Filed
}

func (c *copier) run(ctx context.Context) error {
	folders, err := c.from.Folders(ctx)
	if err != nil {
		return err
	}
	var names nameMap
	wanted := folders[:0:0]
	for _, f := range folders {
		name := f.Name
		if c.opt.Mailbox != nil {
			var ok bool
			if name, ok = c.opt.Mailbox(name); !ok {
				continue
			}
		}
		if st, ok := c.cp.Folders[exact(f.key())]; ok {
			names.take(f.key(), st.Name)
		} else {
			names.add(f.key(), name)
		}
		if f.Err != nil {
			c.skip(Skip{Folder: f.Name, Err: f.Err})
			continue
		}
		if to := names.names[f.key()]; to != f.Name && to != name {
			c.renamed(f.Name, to)
		}
		wanted = append(wanted, f)
		c.total(f)
	}
	c.names = names.names
	for _, f := range wanted {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := c.copyFolder(ctx, f); {
		case errors.Is(err, ErrFolder):
			c.skip(Skip{Folder: f.Name, Err: err})
		case err != nil:
			return fmt.Errorf("%s: %w", f.Name, err)
		default:
			c.report.Folders++
		}
	}
	return nil
}

func (c *copier) renamed(from, to string) {
	if c.report.Renamed == nil {
		c.report.Renamed = make(map[string]string)
	}
	c.report.Renamed[from] = to
}

// total adds what is known of a folder to the totals.
func (c *copier) total(f Folder) {
	if f.Messages < 0 || c.prog.TotalMessages < 0 {
		c.prog.TotalMessages = -1
	} else {
		c.prog.TotalMessages += int64(f.Messages)
	}
	if f.Octets < 0 || c.prog.TotalOctets < 0 {
		c.prog.TotalOctets = -1
	} else {
		c.prog.TotalOctets += f.Octets
	}
	if st := c.cp.Folders[exact(f.key())]; st != nil {
		c.report.Earlier += st.Messages
		c.prog.Messages += st.Messages + st.Skipped
		c.prog.Octets += st.Octets
	}
}

func (c *copier) copyFolder(ctx context.Context, f Folder) (err error) {
	c.folder, c.state, c.pending = f, c.cp.folder(f.key(), c.names[f.key()]), nil
	c.prog.Folder = f.Name
	c.tell(false)
	dest := f
	dest.Name = c.state.Name
	sink, err := c.to.Open(ctx, dest, string(c.state.Sink))
	if err != nil {
		return err
	}
	complete := false
	defer func() { err = errors.Join(err, sink.Close(complete)) }()
	// What has been read is not thrown away when the context ends, but may
	// not take for ever either.
	sctx, cancel := linger(ctx)
	defer cancel()
	err = c.copyMessages(ctx, sctx, sink)
	if e := sink.Flush(sctx); e != nil && err == nil {
		err = e
	}
	// The sink may only then make the folder final.
	if e := c.cp.save(true); e != nil && err == nil {
		err = e
	}
	complete = err == nil
	return err
}

// lingerTime is how long a copy whose context has ended waits for what is
// under way.
const lingerTime = 10 * time.Second

// linger is a context that ends some time after ctx.
func linger(ctx context.Context) (context.Context, context.CancelFunc) {
	l, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		t := time.NewTimer(lingerTime)
		defer t.Stop()
		select {
		case <-t.C:
			cancel()
		case <-l.Done():
		}
	})
	return l, func() { stop(); cancel() }
}

func (c *copier) copyMessages(ctx, sctx context.Context, sink FolderSink) error {
	for m, err := range c.from.Messages(ctx, c.folder, string(c.state.Position)) {
		if m == nil {
			return err
		}
		o := &outcome{m: m}
		c.pending = append(c.pending, o)
		if err == nil {
			if err = ctx.Err(); err == nil {
				err = c.put(sctx, sink, o)
			}
			if err != nil && !errors.Is(err, ErrBroken) && !errors.Is(err, ErrTooBig) {
				return err
			}
		}
		if err != nil {
			c.done(o, Filed{Err: err})
		}
		if err := c.cp.save(false); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// put hands one message to the sink. ErrBroken and ErrTooBig concern only it.
func (c *copier) put(ctx context.Context, sink FolderSink, o *outcome) error {
	m := o.m
	m.track(c.from.Identity(), c.folder)
	o.body = &bodyReader{r: m.Body, hash: m.hash, max: c.opt.MaxMessage}
	m.Body = o.body
	if c.opt.MaxMessage >= 0 && m.Size > c.opt.MaxMessage {
		return o.body.drain(fmt.Errorf("%w: %d octets", ErrTooBig, m.Size))
	}
	err := sink.Put(ctx, m, func(f Filed) { c.done(o, f) })
	if o.body.err != nil {
		err = o.body.err // and not what the sink made of it
	}
	return o.body.drain(err)
}

// done takes the outcome of a message, and what is known in order behind it,
// into the account.
func (c *copier) done(o *outcome, f Filed) {
	o.known, o.filed = true, f
	for len(c.pending) > 0 && c.pending[0].known {
		o := c.pending[0]
		c.pending[0] = nil
		c.pending = c.pending[1:]
		st, size := c.state, int64(0)
		if o.body != nil {
			size = o.body.n
		}
		if o.m.Position != "" {
			st.Position = exact(o.m.Position)
		}
		c.prog.Messages++
		c.prog.Octets += size
		c.cp.dirty = true
		switch f := o.filed; {
		case f.Err != nil:
			st.Skipped++
			c.skip(Skip{Folder: c.folder.Name, Message: o.m.ID, Err: f.Err})
		default:
			st.Messages++
			st.Octets += size
			st.Sink = exact(f.Position)
			if f.Altered {
				c.report.Altered++
			}
			if f.Duplicate {
				c.report.Duplicates++
			} else {
				c.report.Messages++
				c.report.Octets += size
			}
		}
	}
	c.tell(false)
}

func (c *copier) skip(s Skip) {
	c.report.Skipped++
	c.prog.Skipped++
	if len(c.report.Skips) < maxSkips {
		c.report.Skips = append(c.report.Skips, s)
	}
	if c.opt.Skipped != nil {
		c.opt.Skipped(s)
	}
}

// tell calls Options.Progress, but not too often.
func (c *copier) tell(now bool) {
	if c.opt.Progress == nil || !now && time.Since(c.told) < 100*time.Millisecond {
		return
	}
	c.told = time.Now()
	c.opt.Progress(c.prog)
}

// bodyReader reads a body for the sink.
type bodyReader struct {
	r      io.Reader
	hash   hash.Hash
	n, max int64
	err    error
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.hash.Write(p[:n])
	if b.n += int64(n); b.max >= 0 && b.n > b.max {
		n, err = 0, fmt.Errorf("%w: above %d octets", ErrTooBig, b.max)
	}
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// drain reads what the sink has left, for only then the position is known. It
// returns why it was left, or what came in between.
func (b *bodyReader) drain(why error) error {
	if b.err != nil && !errors.Is(b.err, ErrTooBig) {
		return b.err
	}
	if why != nil && !errors.Is(why, ErrBroken) && !errors.Is(why, ErrTooBig) {
		return why
	}
	if _, err := io.Copy(io.Discard, b.r); err != nil {
		return err
	}
	return why
}
