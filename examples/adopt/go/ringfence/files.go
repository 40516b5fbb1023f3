package ringfence

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// readFiles reads all mounted files, by names such as trust/access.json.
func readFiles(folder string) (map[string]string, error) {
	files := map[string]string{}
	for _, mount := range []string{"tls", "trust", "signing-key"} {
		err := readMount(filepath.Join(folder, mount), mount, files)
		if mount == "signing-key" && errors.Is(err, fs.ErrNotExist) {
			continue // A service without a signing key has no such mount.
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", filepath.Join(folder, mount), err)
		}
	}
	return files, nil
}

// readMount reads the files of one volume. The kubelet writes a changed Secret or ConfigMap to a new folder and then lets
// the symbolic link ..data point there, so that files which are read from one such folder belong together.
func readMount(folder, mount string, files map[string]string) error {
	if data, err := filepath.EvalSymlinks(filepath.Join(folder, "..data")); err == nil {
		folder = data
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.IsDir() {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			return err
		}
		files[mount+"/"+entry.Name()] = string(content)
	}
	return nil
}
