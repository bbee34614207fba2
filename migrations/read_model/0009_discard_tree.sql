-- `projector rebuild --tree` removes the tree at once, however large it is; the projector then builds it again from the log.
grant truncate on tree_tile to projector;
