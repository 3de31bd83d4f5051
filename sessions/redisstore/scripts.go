package redisstore

import (
	"embed"
	"fmt"

	"github.com/redis/go-redis/v9"
)

//go:embed lua
var sources embed.FS

// script is a Lua script that Redis runs as one step.
type script struct {
	name string
	*redis.Script
	text string
}

// load puts a script together: the prelude, then the files named.
func load(files ...string) *script {
	text := ""
	for _, name := range append([]string{"prelude"}, files...) {
		b, err := sources.ReadFile("lua/" + name + ".lua")
		if err != nil {
			panic(fmt.Sprintf("redisstore: %v", err)) // it is part of the binary
		}
		text += string(b) + "\n"
	}
	return &script{files[len(files)-1], redis.NewScript(text), text}
}

var (
	scriptLay    = load("lay")
	scriptRights = load("rights")
	scriptCreate = load("create")
	scriptChange = load("change")
	scriptRemove = load("remove")
	scriptDone   = load("settled")
	scriptRead   = load("read")

	scriptAcquire = load("acquire")
	scriptRenew   = load("renew")
	scriptRelease = load("release")

	scriptPut    = load("put")
	scriptDrop   = load("drop")
	scriptRefile = load("refile")

	scriptImport  = load("import")
	scriptUnclaim = load("unclaim")

	scriptNote   = load("note")
	scriptUnnote = load("unnote")

	scriptTransaction = load("waiting", "transaction")
	scriptMeet        = load("waiting", "meet")
	scriptForget      = load("waiting", "forget")
	scriptTie         = load("waiting", "tie")
	scriptCode        = load("waiting", "code")
	scriptExpire      = load("waiting", "expire")

	scriptRemember   = load("remember")
	scriptGeneration = load("generation")
)

func (s *script) source() string { return s.text }
