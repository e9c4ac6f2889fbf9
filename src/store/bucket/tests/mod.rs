mod batch_object;
