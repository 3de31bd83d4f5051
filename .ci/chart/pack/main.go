// Pack makes the chart's package of a release: its version is the tag's, and its image is fixed by the digest of what was
// pushed, so that who has verified the chart has verified the image too.
//
//	go run -C .ci/chart ./pack VERSION DIGEST DIR
//
// It prints the package's path.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: pack VERSION DIGEST DIR")
		os.Exit(2)
	}
	file, err := pack(filepath.Join("..", "..", "charts", "ort-gateway"), os.Args[1], os.Args[2], os.Args[3])
	if err != nil {
		fmt.Fprintln(os.Stderr, "pack:", err)
		os.Exit(1)
	}
	fmt.Println(file)
}

var (
	versions = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?$`)
	digests  = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
	// noDigest is the image's digest in values.yaml, the first one below "image:".
	noDigest = regexp.MustCompile(`(?m)^image:\n(?:(?:  .*)?\n)*?  digest: (?:"")?$`)
)

// pack writes the package of the chart in dir into out.
func pack(dir, version, digest, out string) (string, error) {
	switch {
	case !versions.MatchString(version):
		return "", fmt.Errorf("%q is no version: it is like 1.2.3 or 1.2.3-rc.1, without the v of the tag", version)
	case !digests.MatchString(digest):
		return "", fmt.Errorf("%q is no digest: it is like sha256: and 64 hex digits", digest)
	}
	c, err := loader.LoadDir(dir)
	if err != nil {
		return "", fmt.Errorf("reading the chart: %w", err)
	}
	c.Metadata.Version, c.Metadata.AppVersion = version, version
	for _, f := range c.Raw {
		if f.Name != chartutil.ValuesfileName {
			continue
		}
		at := noDigest.FindIndex(f.Data)
		if at == nil {
			return "", errors.New("values.yaml has no empty image.digest to fill in")
		}
		line := bytes.LastIndexByte(f.Data[:at[1]], '\n') + 1
		f.Data = bytes.Join([][]byte{f.Data[:line], []byte("  digest: " + digest), f.Data[at[1]:]}, nil)
	}
	file, err := chartutil.Save(c, out)
	if err != nil {
		return "", fmt.Errorf("writing the package: %w", err)
	}
	return file, nil
}
