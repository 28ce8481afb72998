"""What each task of the OpenMMLab packages needs: places of the operators, data, fixed inputs."""
