//go:build !linux && !darwin && !freebsd

package boltstore

func freeBytes(string) (free int64, known bool) { return 0, false }
