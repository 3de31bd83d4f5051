package chart

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	batch "k8s.io/api/batch/v1"
	core "k8s.io/api/core/v1"
)

// run runs a container that ends by itself, or a command in one, and gives what it says and its exit code.
func run(t *testing.T, path string, args, env []string) (string, int) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Env = env
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// TestJobs: beside a gateway that runs as rendered, the CronJob's container copies the store and keeps the former copy, the
// pod of `helm test` asks what it is for, and README's commands in the gateway's own container are answered.
func TestJobs(t *testing.T) {
	path, err := program()
	if err != nil {
		t.Fatal(err)
	}
	var gateway, backup, check core.Container
	for _, s := range scenarios(t) {
		if s.name != "bolt-full" {
			continue
		}
		for _, object := range objects(t, s) {
			switch o := object.(type) {
			case *apps.StatefulSet:
				gateway = o.Spec.Template.Spec.Containers[0]
			case *batch.CronJob:
				backup = o.Spec.JobTemplate.Spec.Template.Spec.Containers[0]
				if o.Spec.ConcurrencyPolicy == batch.ForbidConcurrent && o.Spec.JobTemplate.Spec.ActiveDeadlineSeconds == nil {
					t.Error("a backup that hangs ends all backups")
				}
			case *core.Pod:
				check = o.Spec.Containers[0]
			}
		}
	}
	files := secretFiles(t)
	s := serve(t, path, files, gateway)
	to, own := t.TempDir(), map[string]string{"ORT_ADMIN_ADDR": s.admin, "ORT_UPSTREAM_URL": "https://127.0.0.1:1"}

	args := []string{}
	for _, arg := range backup.Args {
		args = append(args, strings.Replace(arg, "/backup/", to+"/", 1))
	}
	for range 2 {
		if out, code := run(t, path, args, local(backup.Env, files, s.data, own)); code != 0 {
			t.Fatalf("backup %q: %d %s", args, code, out)
		}
	}
	for _, name := range []string{"ort-sessions.db", "ort-sessions.db.1"} {
		if info, err := os.Stat(filepath.Join(to, name)); err != nil || info.Size() == 0 {
			t.Errorf("the copy %s: %v", name, err)
		}
	}

	inside := local(gateway.Env, files, s.data, own)
	if out, code := run(t, path, []string{"sessions", "list"}, inside); code != 0 {
		t.Errorf("sessions list: %d %s", code, out)
	}
	if out, code := run(t, path, []string{"sessions", "end", "--sub", "nobody"}, inside); code != 0 || !strings.Contains(out, "no such session is alive") {
		t.Errorf("sessions end: %d %s", code, out)
	}
	// No IdP is there, which is what both say; what they were given is not the fault.
	for name, c := range map[string]struct {
		args, env []string
	}{
		"helm test":               {check.Args, local(check.Env, files, t.TempDir(), own)},
		"check beside the server": {[]string{"check"}, inside},
	} {
		out, code := run(t, path, c.args, c.env)
		if code != 1 || !strings.Contains(out, "upstream") || strings.Contains(out, "warning:") {
			t.Errorf("%s: %d\n%s", name, code, out)
		}
	}
	s.stop(t)
}
