package redisstore

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

const (
	magic  = "ort-gateway sessions "
	schema = 1 // of keys and fields; records have versions of their own
)

// faultError is an error that a person must mend.
type faultError struct {
	text string
	err  error
}

func (e *faultError) Error() string   { return e.text }
func (e *faultError) Unwrap() []error { return []error{ErrFault, e.err} }

func isFault(err error) bool { return errors.Is(err, ErrFault) }

// lay looks at the store before anything is done with it: whether it can be
// reached and scripted, and is of our format.
//
// While the store does not answer, everybody waits for one look together, and no
// longer than his context: one after the other they would wait for ever.
func (s *Store) lay(ctx context.Context) error {
	s.mu.Lock()
	look := s.laying
	first := look == nil
	if first {
		look = &looking{done: make(chan struct{})}
		s.laying = look
	}
	s.mu.Unlock()
	if !first {
		select {
		case <-look.done:
			return look.err
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return sessions.ErrClosed
		}
	}
	look.err = s.layOnce(context.WithoutCancel(ctx)) // it is the others' too
	s.mu.Lock()
	s.laying = nil
	s.mu.Unlock()
	close(look.done)
	return look.err
}

// looking is one look at the store that many may wait for.
type looking struct {
	done chan struct{}
	err  error // there once done is closed
}

func (s *Store) layOnce(ctx context.Context) error {
	meta, err := s.meta(ctx)
	if err != nil {
		return err
	}
	if meta.importing && !s.filling {
		return &faultError{"an import into this store did not end: run `ort-gateway sessions import` again, which takes back what is half done", errHalf}
	}
	s.laid.Store(true)
	return nil
}

var errHalf = errors.New("half an import")

type meta struct{ importing bool }

// meta reads what stands about the store itself, and lays an empty one.
func (s *Store) meta(parent context.Context) (m meta, err error) {
	ctx, cancel := s.within(parent)
	defer cancel()
	v, err := s.run(ctx, call{scriptLay, []string{s.metaKey()}, []any{magic + strconv.Itoa(schema)}})
	if err != nil {
		if text := connectFault(err); text != "" {
			return m, &faultError{text, plain(err)}
		}
		return m, s.fault(parent, err)
	}
	if err := s.rights(ctx); err != nil {
		if isFault(err) {
			return m, err
		}
		return m, s.fault(parent, err)
	}
	list, _ := v.([]any)
	if len(list) != 2 {
		return m, s.fault(parent, fmt.Errorf("%w: %T", errAnswer, v))
	}
	format, _ := list[0].(string)
	version, ok := cutMagic(format)
	switch {
	case !ok:
		return m, &faultError{"the key " + s.metaKey() + " is of another program: give another key_prefix", sessions.ErrDamaged}
	case version > schema:
		return m, &faultError{fmt.Sprintf("the store was written by a newer version of the gateway (format %d, this one knows %d); it was left as it is: use that version, or give another key_prefix", version, schema), sessions.ErrVersion}
	}
	m.importing = list[1] != nil
	return m, nil
}

// rights tries every command that is needed, and the channel: what the user may not
// is told now, and not by the first login.
func (s *Store) rights(ctx context.Context) error {
	if err := s.rdb.Publish(ctx, s.channel(), s.me).Err(); redis.IsPermissionError(err) {
		return &faultError{"the user may not use the channel " + s.channel() + ": give it &" + s.prefix + "*", plain(err)}
	}
	v, err := s.run(ctx, call{scriptRights, []string{s.prefix + "rights:" + newToken()}, []any{s.channel()}})
	if err != nil {
		return err
	}
	missing, _ := v.(string)
	if missing == "" {
		sub := s.rdb.Subscribe(ctx, s.channel())
		defer sub.Close()
		if _, err := sub.Receive(ctx); redis.IsPermissionError(err) {
			missing = "SUBSCRIBE"
		} else if err != nil {
			return err
		}
	}
	if missing == "" && s.wait > 0 {
		err := s.masters(ctx, func(ctx context.Context, node *redis.Client) error { return node.Do(ctx, "wait", 0, 1).Err() })
		if redis.IsPermissionError(err) {
			missing = "WAIT"
		} else if err != nil {
			return err
		}
	}
	if missing != "" {
		return &faultError{"the user may not run " + missing + ", which the store needs: " + neededRights, errRights}
	}
	return nil
}

var errRights = errors.New("missing rights")

const neededRights = "ACL SETUSER … ~PREFIX* &PREFIX* +@all -@dangerous -@admin +info, where PREFIX is the key_prefix (ort:)"

func cutMagic(format string) (version int, ok bool) {
	if len(format) <= len(magic) || format[:len(magic)] != magic {
		return 0, false
	}
	version, err := strconv.Atoi(format[len(magic):])
	return version, err == nil && version > 0
}

// connectFault says what a person must mend; "" where waiting may help.
func connectFault(err error) string {
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	var host x509.HostnameError
	var header tls.RecordHeaderError
	var verify *tls.CertificateVerificationError
	_, moved := redis.IsMovedError(err)
	switch {
	case redis.HasErrorPrefix(err, "WRONGTYPE"):
		return "its key meta is of another program: give another key_prefix"
	case redis.HasErrorPrefix(err, "WRONGPASS"):
		return "the server refuses the user or the password"
	case redis.IsAuthError(err):
		return "the server asks for a password, or refuses this one (redis://USER:PASSWORD@HOST; with Sentinel that is the Sentinels' own, and the servers' is username= and password=)"
	case redis.IsPermissionError(err):
		return "the user may not do what the store needs: " + neededRights
	case redis.HasErrorPrefix(err, "unknown command") && strings.Contains(strings.ToLower(err.Error()), "sentinel"):
		return "the URL has master_name=, but the server is no Sentinel: name the Sentinels (port 26379), or leave master_name= out"
	case redis.HasErrorPrefix(err, "unknown command"):
		return "the server has no scripting (EVAL, EVALSHA): use one that has; where it is a Sentinel, say master_name="
	case redis.HasErrorPrefix(err, "This instance has cluster support disabled"):
		return "the URL has addr=, but the server is no Cluster"
	case redis.HasErrorPrefix(err, "DB index is out of range"):
		return "the server has no database of this number"
	case moved:
		return "the server is part of a Cluster: name another of its nodes with addr=HOST:PORT"
	case errors.As(err, &host):
		return "the server's certificate is for another name"
	case errors.As(err, &unknown):
		return "the server's certificate is of an authority that is not trusted: name its file by ca_file="
	case errors.As(err, &invalid), errors.As(err, &verify):
		return "the server's certificate is not valid"
	case errors.As(err, &header):
		return "the server does not speak TLS: use redis:// for one without"
	}
	return ""
}

var errAnswer = errors.New("an answer that cannot be read")
