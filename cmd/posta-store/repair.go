package main

import (
	"context"
	"errors"
)

// repair is not offered by the engine yet.
func repair(ctx context.Context, c *config) error {
	return errors.New("this engine cannot be repaired")
}
