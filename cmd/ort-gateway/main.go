// Command ort-gateway stands in front of an identity provider and hands out online refresh tokens: refresh tokens that
// live and die with the user's login. Everything it needs comes from its environment; `ort-gateway env` lists it.
package main

import (
	"context"
	"os"

	"github.com/ort-gateway/ort-gateway/cmd/ort-gateway/app"
)

func main() {
	os.Exit(app.Run(context.Background(), os.Args[1:], os.Environ(), os.Stdout, os.Stderr))
}
