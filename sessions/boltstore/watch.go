package boltstore

import "github.com/ort-gateway/ort-gateway/sessions"

// Watch signals after each change of a session.
func (s *Store) Watch(id sessions.ID) (<-chan struct{}, func()) { return s.watches.Listen(id) }
