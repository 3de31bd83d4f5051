package redisstore

import (
	"context"
	"encoding/hex"
	"errors"
	"strconv"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/ort-gateway/ort-gateway/sessions"
)

// waiting is a script on what waits: transactions, codes and ties.
func (s *Store) waiting(c *script, args ...any) call {
	return call{c, []string{s.waitingKey()}, args}
}

// AddTransaction keeps a transaction, unless one stands for its key.
func (s *Store) AddTransaction(ctx context.Context, t sessions.Transaction) (standing sessions.Transaction, added bool, err error) {
	defer s.observe("add_transaction", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return standing, false, err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	address := ""
	if t.Address.IsValid() {
		address = t.Address.String()
	}
	for {
		v, err := s.run(within, s.waiting(scriptTransaction, hexOf(t.Key), sessions.EncodeTransaction(&t), millis(t.Until),
			s.now().UnixMilli(), address, t.Client, s.limit, s.ttl(t.Until, slackOther), newToken()))
		s.wrote(err)
		if err != nil {
			return standing, false, s.fault(ctx, err)
		}
		list, _ := v.([]any)
		if len(list) != 3 {
			return standing, false, s.fault(ctx, errAnswer)
		}
		record, _ := list[1].(string)
		if standing, err = sessions.DecodeTransaction([]byte(record)); err != nil {
			return standing, false, err
		}
		if list[0] == int64(1) {
			out, _ := list[2].(int64)
			s.pushedOut.Add(out)
			s.figures.stale()
			return standing, true, nil
		}
		if !standing.Same(&t) {
			return sessions.Transaction{}, false, sessions.ErrDifferent
		}
		if !standing.Meet(t.Browser) {
			return standing, false, nil
		}
		v, err = s.run(within, s.waiting(scriptMeet, hexOf(t.Key), record, sessions.EncodeTransaction(&standing)))
		if err != nil {
			return standing, false, s.fault(ctx, err)
		}
		if v == int64(1) {
			return standing, false, nil
		}
	}
}

// Transaction is the transaction of a key.
func (s *Store) Transaction(ctx context.Context, key sessions.TransactionKey) (t sessions.Transaction, err error) {
	defer s.observe("transaction", time.Now(), &err)
	record, err := s.waits(ctx, "t:"+hexOf(key))
	if err != nil {
		return t, err
	}
	return sessions.DecodeTransaction([]byte(record))
}

// waits is the record of what waits under a key, until its time.
func (s *Store) waits(ctx context.Context, key string) (record string, err error) {
	if err := s.begin(ctx); err != nil {
		return "", err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	v, err := s.rdb.HMGet(within, s.waitingKey()+key, "d", "u").Result()
	if err != nil {
		return "", s.fault(ctx, err)
	}
	f := fieldsOf([]string{"d", "u"}, v)
	until, err := strconv.ParseInt(f["u"], 10, 64)
	if err != nil || until <= s.now().UnixMilli() {
		return "", sessions.ErrNotFound
	}
	return f["d"], nil
}

// DropTransaction forgets a transaction.
func (s *Store) DropTransaction(ctx context.Context, key sessions.TransactionKey) (err error) {
	defer s.observe("drop_transaction", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return err
	}
	within, cancel := s.through(ctx)
	defer cancel()
	_, err = s.run(within, s.waiting(scriptForget, hexOf(key)))
	s.figures.stale()
	return s.fault(ctx, err)
}

// TieRequestURI lets a pushed request be found by its request_uri.
func (s *Store) TieRequestURI(ctx context.Context, uri sessions.RequestURIHash, key sessions.TransactionKey, until time.Time) (err error) {
	defer s.observe("tie_request_uri", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	_, err = s.run(within, s.waiting(scriptTie, hexOf(uri), hexOf(key), millis(until), s.limit, s.ttl(until, slackOther)))
	return s.fault(ctx, err)
}

// RequestURI is the key that a request_uri was tied to.
func (s *Store) RequestURI(ctx context.Context, uri sessions.RequestURIHash) (key sessions.TransactionKey, err error) {
	defer s.observe("request_uri", time.Now(), &err)
	text, err := s.waits(ctx, "r:"+hexOf(uri))
	if err != nil {
		return key, err
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(key) {
		return key, errors.Join(errors.New("reading a request_uri's tie"), sessions.ErrDamaged)
	}
	return sessions.TransactionKey(b), nil
}

// codeCall adds to what is known of a code.
func (s *Store) codeCall(c *sessions.Code) call {
	seen := !c.LeftAt.IsZero() || c.Browser != ""
	return s.waiting(scriptCode, hexOf(c.Hash), sessions.EncodeCode(c), mark(seen), mark(c.Exchanged), millis(c.Until),
		s.now().UnixMilli(), s.limit, s.ttl(c.Until, slackOther))
}

// AddCode keeps what was seen of a code.
func (s *Store) AddCode(ctx context.Context, c sessions.Code) (err error) {
	defer s.observe("add_code", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	_, err = s.run(within, s.codeCall(&c))
	return s.fault(ctx, err)
}

// Code is what is known of a code.
func (s *Store) Code(ctx context.Context, hash sessions.CodeHash) (c sessions.Code, err error) {
	defer s.observe("code", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return c, err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	names := []string{"d", "x", "u"}
	v, err := s.rdb.HMGet(within, s.waitingKey()+"k:"+hexOf(hash), names...).Result()
	if err != nil {
		return c, s.fault(ctx, err)
	}
	f := fieldsOf(names, v)
	until, err := strconv.ParseInt(f["u"], 10, 64)
	if err != nil || until <= s.now().UnixMilli() {
		return c, sessions.ErrNotFound
	}
	if c, err = sessions.DecodeCode([]byte(f["d"])); err != nil {
		return c, err
	}
	c.Hash, c.Exchanged, c.Until = hash, f["x"] == "1", time.UnixMilli(until).UTC()
	return c, nil
}

// Waits says whether a transaction of a client waits.
func (s *Store) Waits(ctx context.Context, client string) (waits bool, err error) {
	defer s.observe("waits", time.Now(), &err)
	if err = s.begin(ctx); err != nil {
		return false, err
	}
	within, cancel := s.within(ctx)
	defer cancel()
	err = s.rdb.ZScore(within, s.waitingKey()+"c", client).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, s.fault(ctx, err)
}
