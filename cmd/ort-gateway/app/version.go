package app

import (
	"context"
	"fmt"
	"runtime"
	"runtime/debug"
)

// build is what the binary says of itself. Version control and the module proxy put it there, no build script does.
type build struct {
	version, revision, goVersion string
}

// thisBuild reads the binary's own build information.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return build{version: "unknown", revision: "unknown", goVersion: runtime.Version()}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) build {
	b := build{version: info.Main.Version, revision: "unknown", goVersion: info.GoVersion}
	if b.version == "" {
		b.version = "unknown"
	}
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.revision = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = "-modified"
		}
	}
	b.revision += modified
	return b
}

func runVersion(_ context.Context, p process) int {
	b := thisBuild()
	if _, err := fmt.Fprintf(p.stdout, "ort-gateway %s, revision %s, %s\n", b.version, b.revision, b.goVersion); err != nil {
		return p.fail(err)
	}
	return exitGood
}
