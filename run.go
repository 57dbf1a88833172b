package posta

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// Service is something that runs until it is shut down: an smtp.Server,
// imap.Server, pop3.Server, mta.Agent or net/http.Server. Beside Shutdown it
// must have ListenAndServe() error or Run(context.Context) error.
type Service interface {
	// Shutdown ends the service gracefully, or by force when ctx ends.
	Shutdown(ctx context.Context) error
}

// ShutdownGrace is how long Run waits for services to end by themselves.
const ShutdownGrace = 30 * time.Second

// ErrNotRunnable is wrapped by Run's error for a Service that can be shut
// down but not started.
var ErrNotRunnable = errors.New("posta: service has neither ListenAndServe nor Run")

// Run starts all services and returns when ctx ends, the process gets SIGINT
// or SIGTERM, or one of them fails; before that it shuts the others down, in
// the order given, and waits for them. The error is that of the first
// failure; it is nil after a signal or the end of ctx.
func Run(ctx context.Context, services ...Service) error {
	starts := make([]func(context.Context) error, len(services))
	for i, s := range services {
		start, err := starter(s)
		if err != nil {
			return err
		}
		starts[i] = start
	}
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Services see the end by Shutdown, not by a context that cuts them off.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ended := make(chan error, len(services))
	for _, start := range starts {
		go func() { ended <- start(running) }()
	}
	var failure error
	left := len(services)
	select {
	case <-ctx.Done():
	case failure = <-ended:
		left--
	}
	grace, cancelGrace := context.WithTimeout(context.Background(), ShutdownGrace)
	defer cancelGrace()
	var wg sync.WaitGroup
	for _, s := range services {
		wg.Go(func() { _ = s.Shutdown(grace) })
	}
	wg.Wait()
	cancel()
	for ; left > 0; left-- {
		<-ended
	}
	return failure
}

// starter is how a service is started. A service that was shut down ends
// without error, whatever its own protocol says about that.
func starter(s Service) (func(context.Context) error, error) {
	switch s := s.(type) {
	case interface{ ListenAndServe() error }:
		return func(context.Context) error { return s.ListenAndServe() }, nil
	case interface{ Run(context.Context) error }:
		return s.Run, nil
	}
	return nil, fmt.Errorf("%w: %T", ErrNotRunnable, s)
}

// On makes a Service that serves on a listener that is open already, instead of
// listening on the server's own address.
func On(l net.Listener, s interface {
	Service
	Serve(net.Listener) error
}) Service {
	return listening{s, l}
}

type listening struct {
	server interface {
		Service
		Serve(net.Listener) error
	}
	l net.Listener
}

func (s listening) Run(context.Context) error          { return s.server.Serve(s.l) }
func (s listening) Shutdown(ctx context.Context) error { return s.server.Shutdown(ctx) }
